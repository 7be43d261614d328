import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from squeezekit.cli.ssh import Remote

QUICK = ("--runs", "20", "--processes", "1")
HERE = ("--remote-program", f"{sys.executable} -m squeezekit")


@pytest.fixture
def fake_ssh(tmp_path, monkeypatch):
    """An `ssh` that runs the command here, and writes down how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "ssh"
    script.write_text(
        '#!/bin/sh\necho "$*" >> "$SSH_LOG"\nwhile [ "$1" != -- ]; do shift; done\nexec sh -c "$3"\n'
    )
    script.chmod(0o755)
    log = tmp_path / "ssh.log"
    monkeypatch.setenv("SSH_LOG", str(log))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


def test_the_table_has_every_model(model, squeezekit, monkeypatch):
    monkeypatch.setattr(sys.modules["squeezekit.runtime.bench"], "_THROUGHPUT_S", 0.05)
    monkeypatch.setattr(sys.modules["squeezekit.runtime.bench"], "_ENERGY_S", 0.1)
    status, text, _ = squeezekit("bench", model, model, *QUICK)
    assert status == 0
    assert text.count(model.name) == 4
    assert "ratio to first" in text
    assert "Energy of an inference" in text


def test_on_another_machine(model, fake_ssh, squeezekit):
    status, out, _ = squeezekit("bench", model, *QUICK, "--json", "--on", "ssh://pi@berry:2222", *HERE)
    assert status == 0
    found = json.loads(out)
    assert found["on"] == "pi@berry"
    assert found["models"][0]["path"] == str(model)
    calls = fake_ssh.read_text()
    assert "-o BatchMode=yes -o ConnectTimeout=20 -p 2222 -- pi@berry" in calls
    folder = Path(calls.splitlines()[1].split("cat > ")[1]).parent
    assert not folder.exists()


def test_what_goes_wrong_there_is_one_line_here(model, fake_ssh, squeezekit):
    on = ("bench", model, "--on", "ssh://berry")
    status, _, error = squeezekit(*on, "--remote-program", "no-such-program")
    assert status == 2
    assert "pip install squeezekit" in error
    model.write_bytes(b"GIF89a")
    status, _, error = squeezekit(*on, *HERE)
    assert status == 2
    assert "neither a .sqz nor a .tflite" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "url",
    [
        "berry",
        "http://berry",
        "ssh://",
        "ssh://-oProxyCommand=x",
        "ssh://pi@berry:no",
        "ssh://-pi@berry",
        "ssh://berry/path",
    ],
)
def test_addresses_that_are_none(url):
    with pytest.raises(ValueError, match="ssh://user@host"):
        Remote.parse(url)


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="ssh-copy-id") as caught:
        Remote.parse("ssh://pi:raspberry1@berry")
    assert "raspberry1" not in str(caught.value)


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


SSHD = shutil.which("sshd") or next(filter(os.path.exists, ["/usr/sbin/sshd"]), None)


@pytest.mark.skipif(SSHD is None or shutil.which("ssh-keygen") is None, reason="no OpenSSH server here")
def test_through_a_real_sshd(model, tmp_path, monkeypatch, squeezekit):
    port, keys = _free_port(), tmp_path / "keys"
    keys.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True)
    (keys / "authorized").write_text((keys / "user.pub").read_text())
    (keys / "known").write_text(f"[127.0.0.1]:{port} {(keys / 'host.pub').read_text()}")
    settings = keys / "sshd_config"
    settings.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/authorized\n"
        f"StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile {keys}/pid\n"
    )
    user = tmp_path / "ssh_config"
    user.write_text(
        f"Host *\n  IdentityFile {keys}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {keys}/known\n"
    )
    wrapper = tmp_path / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {user} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}")
    Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", settings], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        program = f"env PYTHONPATH={os.pathsep.join(sys.path)} {sys.executable} -m squeezekit"
        on = (
            "bench",
            model,
            *QUICK,
            "--json",
            "--remote-program",
            program,
            "--on",
            f"ssh://127.0.0.1:{port}",
        )
        status, out, error = squeezekit(*on)
        assert status == 0, error
        assert json.loads(out)["models"][0]["latency_ms"]["median"] > 0
        # A host that nobody vouched for is not trusted.
        (keys / "known").write_text("")
        status, _, error = squeezekit(*on)
        assert status == 2
        assert "host key is not known" in error
    finally:
        server.terminate()
        server.wait()
