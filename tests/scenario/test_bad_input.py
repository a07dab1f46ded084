"""Bad input gets one clear line that says what and where, a non-zero exit code, and nothing half-done."""
import os
import socket
import sys
import tempfile

from scenario import campaign, peers


def expect(checks, code, *words, arguments):
    done = campaign.eilpost(*arguments, check=False)
    what = f"eilpost {' '.join(arguments[:1])} ({words})"
    checks.equal(done.returncode, code, f"{what}: exit code; stderr {done.stderr!r}")
    for word in words:
        checks.that(word in done.stderr, f"{what}: says {word!r}; stderr {done.stderr!r}")


def configurations(checks, folder):
    def config(text):
        return campaign.write_text(os.path.join(folder, "bad.yaml"), text)

    expect(checks, 3, "bad.yaml:2", "portt", arguments=["check-config", "--config", config("smtp:\n  portt: 25\n")])
    expect(checks, 3, "bad.yaml:2", "portt", arguments=["run", "--config", config("smtp:\n  portt: 25\n")])
    expect(checks, 3, "bad.yaml:1", "workers", arguments=["run", "--config", config("workers: many\n")])
    expect(checks, 3, "bad.yaml:1", "io", arguments=["run", "--config", config("io: fast\n")])
    expect(checks, 3, "no-such.yaml", arguments=["run", "--config", os.path.join(folder, "no-such.yaml")])
    expect(checks, 2, "--nonsense", arguments=["run", "--nonsense"])


def lists(checks, folder, engine):
    def file(name, text):
        return campaign.write_text(os.path.join(folder, name), text)

    template = file("t.txt", "From: a@shop.test\nSubject: Hi {{name}}\n\nHello {{name}}\n")
    send = ["send", "--config", engine.config, "--from", "b@shop.test"]
    good = file("good.csv", "email,name\nann@one.test,Ann\n")
    rows = file("rows.csv", 'email,name\nann@one.test,Ann\nnot-an-address,Bob\ncy@one.test\n"open,quote\n')
    expect(checks, 4, "rows.csv: line 3", "rows.csv: line 4", arguments=[*send, "--list", rows, "--template", template])
    address = file("address.csv", "email,name\nann@one.test,Ann\na\rb@one.test,Bob\n")
    expect(checks, 4, "address.csv", arguments=[*send, "--list", address, "--template", template])
    unknown = file("u.txt", "From: a@shop.test\nSubject: Hi\n\nHello {{nmae}}\n")
    expect(checks, 4, "nmae", arguments=[*send, "--list", good, "--template", unknown])
    broken = file("b.txt", "From: a@shop.test\nSubject: Hi\n\nHello {{name\n")
    expect(checks, 4, "b.txt", arguments=[*send, "--list", good, "--template", broken])
    no_from = file("f.txt", "Subject: Hi\n\nHello\n")
    expect(checks, 4, "From", arguments=[*send, "--list", good, "--template", no_from])
    expect(checks, 2, "shop test", arguments=["send", "--config", engine.config, "--from", "b@shop test", "--list", good,
                                              "--template", template])
    nothing = campaign.eilpost("status", "--config", engine.config, "--json").stdout
    checks.that('"accepted": 0' in nothing, f"nothing was submitted by all this: {nothing}")


def surroundings(checks, folder, engine):
    away = campaign.write_text(os.path.join(folder, "away.yaml"),
                               f"state_dir: {folder}/state\nredis:\n  url: unix://{folder}/nobody.sock\n"
                               "api:\n  listen: 127.0.0.1:0\n")
    expect(checks, 5, "nobody.sock", arguments=["run", "--config", away])
    expect(checks, 5, "nobody.sock", arguments=["status", "--config", away])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        busy = campaign.write_text(os.path.join(folder, "busy.yaml"),
                                   f"state_dir: {folder}/state\nredis:\n  url: {engine.redis_url}\n  name_space: other\n"
                                   f"api:\n  listen: 127.0.0.1:{port}\n")
        expect(checks, 6, str(port), "in use", arguments=["run", "--config", busy])


def main():
    checks = campaign.Checks()
    with tempfile.TemporaryDirectory() as folder, peers.Redis() as redis, \
            peers.Engine({"redis": {"url": redis.url}}) as engine:
        engine.redis_url = redis.url
        configurations(checks, folder)
        lists(checks, folder, engine)
        surroundings(checks, folder, engine)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
