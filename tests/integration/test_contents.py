"""`package`: made here, it is what `prod` uploads; and what it finds, `prod` refuses."""

import json

from tests.integration.conftest import Project

NO_NETWORK = {
    "DOCKER_HOST": "unix:///nowhere/docker.sock",
    "METAFLOW_DATASTORE_SYSROOT_S3": "",
    "METAFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
}
PASSWORD = "Tr0ub4dor"
LEAK = f'DATABASE = "postgres://ada:{PASSWORD}@db.acme.io/x"\n'


def test_the_package_is_the_one_that_prod_embeds(project: Project) -> None:
    project.write_flow(project.image("a:v1"))
    project.write_settings()
    (project.folder / "helper.py").write_text("VALUE = 1\n")
    done = project.run("package", "--json", environment=NO_NETWORK)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)

    embedded = json.loads(project.succeed("prod", "--json"))["code_package"]["sha1"]

    assert found["sha1"] == embedded
    assert {file["name"] for file in found["files"]} == {"flow.py", "helper.py"}
    assert found["metaflow"]["files"] > 300
    assert (found["secrets"], found["groups"], found["unreadable"]) == ([], [], [])


def test_secrets_are_listed_and_refused_for_prod(project: Project) -> None:
    project.write_flow(project.image("a:v1"))
    project.write_settings()
    (project.folder / "conf.py").write_text(LEAK)
    (project.folder / "conf.py").chmod(0o600)
    project.succeed("dev", "--no-template")

    listed = json.loads(project.succeed("package", "--json"))
    said = project.succeed("package")
    refused = project.run("prod")
    project.environment["AICORE_BUILD_ALLOW_SECRETS"] = "conf.py"
    allowed = json.loads(project.succeed("prod", "--json"))

    assert listed["secrets"] == [
        {"file": "conf.py", "line": 1, "kind": "password in a URL", "allowed": False}
    ]
    assert listed["unreadable"] == ["conf.py"]
    assert refused.returncode == 10
    assert "  conf.py, line 1: password in a URL\n" in refused.stderr
    assert PASSWORD not in said + refused.stderr + json.dumps(listed)
    assert allowed["images"][0]["digest"]
