"""``domainqa keys``, and what ``serve`` makes of the keys there are."""

import json
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rag.catalog import CATALOG_FILE, Catalog
from service.keys import PEPPER_FILE, Pepper, Verifier


def created(cli, *more: str) -> dict[str, object]:
    result = cli("keys", "create", "--name", "page", "--role", "reader", "--json", *more)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_new_key_is_shown_once_and_opens_what_it_says(cli) -> None:
    made = created(
        cli, "--tenant", "acme", "--collections", "manuals, plans", "--requests-per-minute", "60",
        "--tokens-per-minute", "5000", "--expires", "30",
    )  # fmt: skip
    key = made.pop("key")
    with Catalog.open(cli.home) as catalog:
        found = Verifier(catalog.keys, Pepper(cli.home)).verify(key)
    assert found is not None
    assert (found.tenant, found.role, found.collections) == ("acme", "reader", {"manuals", "plans"})
    assert (found.requests_per_minute, found.tokens_per_minute) == (60, 5000)
    lasts = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert lasts == timedelta(days=30)
    listed = cli("keys", "list", "--json")
    assert json.loads(listed.stdout) == {"keys": [made]}
    secret = key.split("_", 2)[2]
    for path in cli.home.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    for result in (listed, cli("keys", "list")):
        assert secret not in result.output
        assert made["id"] in result.stdout


def test_in_words_the_key_stands_alone_on_stdout(cli) -> None:
    result = cli("keys", "create", "--name", "n" * 100, "--role", "admin")
    assert re.fullmatch(r"dqa_[0-9a-f]{12}_[A-Za-z0-9_-]{43}\n", result.stdout)
    assert "only time" in result.stderr
    assert result.stdout.strip() not in result.stderr


def test_a_revoked_key_is_worthless_and_stays_listed_until_it_is_forgotten(cli) -> None:
    made, other = created(cli), created(cli)
    revoked = json.loads(cli("keys", "revoke", made["id"], "--json").stdout)
    assert (revoked["state"], revoked["forgotten"]) == ("revoked", False)
    states = {each["id"]: each["state"] for each in json.loads(cli("keys", "list", "--json").stdout)["keys"]}
    assert states == {made["id"]: "revoked", other["id"]: "valid"}
    with Catalog.open(cli.home) as catalog:
        verifier = Verifier(catalog.keys, Pepper(cli.home))
        assert verifier.verify(made["key"]) is None
        assert verifier.verify(other["key"]) is not None
    assert cli("keys", "revoke", f"dqa_{made['id']}", "--forget").exit_code == 0
    assert [each["id"] for each in json.loads(cli("keys", "list", "--json").stdout)["keys"]] == [other["id"]]


def test_a_key_given_for_its_id_is_understood_and_never_repeated(cli) -> None:
    made = created(cli)
    result = cli("keys", "revoke", made["key"])
    assert (result.exit_code, result.stdout) == (0, f"revoked {made['id']} (page)\n")
    result = cli("keys", "revoke", made["key"][:-3])
    assert result.exit_code == 1
    assert made["key"][20:40] not in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("create", "--name", "n"), 2, "--role"),
        (("create", "--role", "reader"), 2, "--name"),
        (("create", "--name", "n", "--role", "owner"), 2, "owner"),
        (("create", "--name", "n", "--role", "reader", "--expires", "0"), 2, "--expires"),
        (("create", "--name", "n", "--role", "reader", "--requests-per-minute", "0"), 2, "--requests-per-minute"),
        (("create", "--name", " ", "--role", "reader"), 1, "1 to 100 characters"),
        (("create", "--name", "n", "--role", "reader", "--tenant", "a b"), 1, "cannot name a tenant"),
        (("create", "--name", "n", "--role", "reader", "--collections", ","), 1, "--collections names none"),
        (("revoke", "0" * 12), 1, "there is no key"),
        (("revoke",), 2, "ID"),
    ],
)
def test_what_is_wrong_is_said(cli, arguments, code, says) -> None:
    result = cli("keys", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr
    assert json.loads(cli("keys", "list", "--json").stdout) == {"keys": []}


def test_a_lost_pepper_is_not_replaced_while_keys_depend_on_it(cli) -> None:
    created(cli)
    (cli.home / PEPPER_FILE).unlink()
    result = cli("keys", "create", "--name", "n", "--role", "reader")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "keys.pepper cannot be read" in result.stderr
    assert not (cli.home / PEPPER_FILE).exists()
    assert cli("serve", "--host", "0.0.0.0", "--port", "0", "--check").exit_code == 1


def test_other_machines_may_be_served_once_there_is_a_valid_key(cli, scripts) -> None:
    cli.library = scripts.library()
    cli.library.warm_up = lambda: None
    refused = cli("serve", "--host", "0.0.0.0", "--port", "0", "--check")
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert "domainqa keys create --name" in refused.stderr
    made = created(cli)
    assert cli("serve", "--host", "0.0.0.0", "--port", "0", "--check").exit_code == 0
    cli("keys", "revoke", made["id"])
    assert cli("serve", "--host", "0.0.0.0", "--port", "0", "--check").exit_code == 1


def test_the_installed_program_makes_keys_and_keeps_the_pepper_to_itself(tmp_path: Path) -> None:
    def domainqa(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "service.cli.main", "--home", str(tmp_path), "keys", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | {"COLUMNS": "40"})

    made = domainqa("create", "--name", "n", "--role", "editor")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("dqa_")
    assert made.stdout.count("\n") == 1
    key_id = made.stdout[4:16]
    assert (tmp_path / PEPPER_FILE).stat().st_mode & 0o777 == 0o600
    assert key_id in domainqa("list").stdout
    assert domainqa("revoke", key_id).returncode == 0
    assert json.loads(domainqa("list", "--json").stdout)["keys"][0]["state"] == "revoked"
    assert (tmp_path / CATALOG_FILE).exists()
