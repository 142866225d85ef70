import copy
import re
from collections.abc import Callable

import pytest

from aicore_build.errors import GeneratorError
from aicore_build.generators.bootstrap import cut_download
from aicore_build.generators.neutral import make_neutral
from aicore_build.package import find_package
from aicore_build.workflow import Json, container_templates
from tests.unit.make import recorded


def generated(generator: str) -> Json:
    """With the download, as each generator hands it over."""
    if generator == "sap":
        return recorded("generated")
    return make_neutral(recorded("native"), "NativeFlow", keep_resources=False)


def commands(document: Json) -> dict[str, str]:
    return {t["name"]: t["container"]["args"][1] for t in container_templates(document)}


@pytest.fixture(params=["sap", "metaflow"])
def generator(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_of_the_plugin_the_cut_is_what_its_own_option_gives() -> None:
    """Its option also leaves out the log's messages, which the cut keeps."""
    document = cut_download(recorded("generated"))
    for template in container_templates(document):
        args = template["container"]["args"]
        args[1] = re.sub(r"mflog\(\)\{.*?\} && mflog 'Task is starting\.' && ", "", args[1])
    assert document == recorded("embedded")


def test_of_metaflow_all_but_the_download_stays() -> None:
    before, after = (
        commands(d) for d in (generated("metaflow"), cut_download(generated("metaflow")))
    )
    assert before.keys() == after.keys() == {"start", "train-model", "join", "end"}
    for name, text in after.items():
        head, tail = text.split("export PYTHONPATH=$(pwd)/.mf_code:")
        assert before[name].startswith(head)
        assert before[name].endswith(tail)
        assert head.endswith("flush_mflogs(){ python -m metaflow.mflog.save_logs; } && ")
        assert "export METAFLOW_EXTRACTED_ROOT=$(pwd) && mflog 'Task is starting.'" in tail
        assert not re.search(r"pip install|download_file|job\.tar|mkdir metaflow|sleep", text)


def test_only_commands_change(generator: str) -> None:
    before, after = generated(generator), cut_download(generated(generator))
    for template in (*container_templates(before), *container_templates(after)):
        template["container"]["args"] = None
    for template in container_templates(after):
        template["container"]["command"] = ["bash"]
    assert [t["container"].pop("command") for t in container_templates(before)]
    assert [t["container"].pop("command") for t in container_templates(after)]
    assert before == after


def test_the_commands_name_no_package_any_more(generator: str) -> None:
    document = generated(generator)
    sha1 = find_package(document).sha1
    assert all(sha1 in text for text in commands(document).values())
    assert not any(sha1 in text for text in commands(cut_download(document)).values())


def test_the_input_stays(generator: str) -> None:
    document = generated(generator)
    cut_download(document)
    assert document == generated(generator)


def test_cut_twice_fails(generator: str) -> None:
    with pytest.raises(GeneratorError, match="in a way that aicore-build doesn't know"):
        cut_download(cut_download(generated(generator)))


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert re.search(old, text)
        return re.sub(old, lambda _: new, text)

    return change


CHANGED: dict[str, Callable[[str], str]] = {
    "another first message": replaced(r"Setting up task environment\.", "Setting up."),
    "another check before pip": replaced(r"\[ -z \$METAFLOW_SKIP", '[ -z "$METAFLOW_SKIP'),
    "no check before pip": replaced(r"if \[ -z \S+ \]; then (.*?); fi && mkdir", "mkdir"),
    "something between message and pip": replaced(
        r"environment\.' && if", "environment.' && x && if"
    ),
    "another way to call pip": replaced(r"python -m pip install", "uv pip install"),
    "another program behind pip": replaced(r"requests; fi", "requests; apt-get update; fi"),
    "an export on the way": replaced(r"cd metaflow &&", "cd metaflow && export NEEDED=1 &&"),
    "another folder": replaced(r"mkdir metaflow && cd metaflow", "mkdir code && cd code"),
    "other tries": replaced(r"-le 5", "-le 9"),
    "something behind the download": replaced(r"&& break;", "&& tell && break;"),
    "something before tar": replaced(r"exit 1; fi && ", "exit 1; fi && export NEEDED=1 && "),
    "another tar": replaced(r"tar (xf|-xzf) job\.tar", "tar --extract --file job.tar"),
    "another option of tar": replaced(r"TAR_OPTIONS='--warning=no-timestamp' ", ""),
    "another file": replaced(r"job\.tar", "code.tgz"),
    "another separator behind it": replaced(
        r"(tar (xf job\.tar|-xzf job\.tar -C \.)) && ", "tar; "
    ),
    "the download twice": lambda text: text + " && " + text,
    "a second download behind it": lambda text: text + ' && curl -o job.tar "$URL"',
    "another call of S3 behind it": lambda text: text + " && python -c 'x.download_file(1)'",
    "pip before it": lambda text: "python -m pip install requests && " + text,
    "no download": lambda _: "python flow.py step start",
    "nothing": lambda _: "",
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_command_that_is_not_known_fails_loudly(change: str, generator: str) -> None:
    document = generated(generator)
    *_, last = container_templates(document)
    args = last["container"]["args"]
    args[1] = CHANGED[change](args[1])
    with pytest.raises(GeneratorError, match=f"command of {last['name']} fetches the code"):
        cut_download(document)


def test_the_download_in_two_texts_fails(generator: str) -> None:
    document = generated(generator)
    container = next(container_templates(document))["container"]
    container["args"].append(container["args"][1])
    with pytest.raises(GeneratorError, match="in a way that"):
        cut_download(document)


def test_a_container_without_a_text_fails(generator: str) -> None:
    document = copy.deepcopy(generated(generator))
    next(container_templates(document))["container"].update(command=None, args=None)
    with pytest.raises(GeneratorError, match="in a way that"):
        cut_download(document)


def test_before_it_is_made_neutral_the_text_is_in_the_command() -> None:
    document = cut_download(recorded("native"))
    raw = {t["name"]: t["container"]["command"][2] for t in container_templates(document)}
    made = commands(cut_download(generated("metaflow")))
    assert raw["end"] == made["end"]
