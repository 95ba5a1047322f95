"""Servers of data that do wrong: what breaks off is gone on with, and what is refused is told."""

import pytest
from data_run import EXPIRED, FORBIDDEN, KEYS, CommandLines, content, leaks, within
from fault_run import until

from stores.faults import HANG, RESET, TRUNCATE, HttpProxy

SIZE = 300_000
FAULTS = {
    "500": {"answer": 500, "times": 2},
    "hang": {"cut": HANG, "after": 100_000},
    "reset": {"cut": RESET, "after": 100_000},
    "truncation": {"cut": TRUNCATE, "after": 100_000},
}
CASES = [(scheme, what, way) for scheme in ("s3", "http") for what in FAULTS for way in ("in", "out")]
CASES.remove(("s3", "hang", "out"))  # an upload's answer is waited for for minutes: a test of its own
WAYS = {"in": "download", "out": "upload"}
STAGING = "s3.endpoint_url = '{0}'\ns3.silence = 2\nhttp.silence = 2\n"


def harm(proxy, prefix, what, way, times):
    """Let a fault happen to an object of its own: on its way to a task, or from there; for ``times``, or always."""
    method, name = ("GET", f"{what}-in") if way == "in" else ("PUT", f"out/{what}-out")
    known = {"times": 1, **FAULTS[what], **({} if times else {"times": None}), "up": way == "out"}
    return proxy.add(**known, methods=(method,), says=f"{method} {prefix}{name} ".encode())


def check(data_run, bucket, web_server, data_matrix, cases):
    """Run a task for each case, whose server does wrong for a while, after a run in which nothing is tried again."""
    for _, what, way in cases:
        name = f"{what}-{way}"
        bucket.write(name, content(name, SIZE))
        (web_server.folder / name).write_bytes(content(name, SIZE))
    with HttpProxy(bucket.port) as s3, HttpProxy(web_server.server_port) as web:
        proxies = {"s3": (s3, f"/{bucket.name}/"), "http": (web, "/")}
        roots = {"s3": bucket.url(""), "http": f"{web.url}/"}
        tasks = [
            ([f"{roots[scheme]}{what}-{way}"], [f"{roots[scheme]}out/{what}-{way}"]) for scheme, what, way in cases
        ]
        control = data_run(tasks, STAGING.format(s3.url), workers=6, env=within("patience"))
        met = [harm(*proxies[scheme], what, way, None) for scheme, what, way in cases]
        control.start()
        errors = control.fails(300)
        assert all(fault.met for fault in met)
        for number, (_, _, way) in enumerate(cases):
            kind, where = ("StageInError", tasks[number][0]) if way == "in" else ("StageOutError", tasks[number][1])
            assert (errors[number]["kind"], [errors[number]["where"]]) == (kind, where), errors[number]
        assert not bucket.keys("out/")
        assert not list(web_server.folder.glob("out/*"))

        for proxy, _ in proxies.values():
            proxy.faults.clear()
            proxy.drop()
        run = data_run(tasks, STAGING.format(s3.url), workers=6)
        met = [harm(*proxies[scheme], what, way, 1) for scheme, what, way in cases]
        run.start()
        run.finishes(300)
    for (scheme, what, way), fault in zip(cases, met, strict=True):
        with data_matrix.trial(f"{scheme}, {WAYS[way]}", what, "tried once only, the task fails") as trial:
            assert fault.met == FAULTS[what].get("times", 1)
            name = f"out/{what}-{way}"
            kept = bucket.read(name) if scheme == "s3" else (web_server.folder / name).read_bytes()
            assert kept == content(f"{what}-{way}", SIZE)
            trial.came = "finished"


def test_what_a_server_does_wrong_for_a_while_is_of_no_consequence(data_run, bucket, web_server, data_matrix):
    check(data_run, bucket, web_server, data_matrix, CASES)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_upload_that_hangs_goes_on(data_run, bucket, web_server, data_matrix):
    check(data_run, bucket, web_server, data_matrix, [("s3", "hang", "out")])


def keeps_its_secrets(run, said, *secrets):
    """Check that secrets which a run's processes have are nowhere else."""
    assert any(secrets[0] in one for one in said.environments)  # so they were there to be found
    assert not [one for one in said.words if any(secret in one for secret in secrets)]
    planted = run.here / "planted"
    planted.write_text(secrets[0])
    assert leaks(secrets, run.here) == [str(planted)]
    planted.unlink()


def test_credentials_that_are_withdrawn_mid_run(data_run, bucket, data_matrix):
    for number in range(6):
        bucket.write(f"{number}", content(f"{number}", SIZE))
    tasks = [([bucket.url(f"{number}")], [bucket.url(f"out/{number}")]) for number in range(6)]
    with (
        HttpProxy(bucket.port) as proxy,
        data_matrix.trial("s3", "403 from the 9th request on", "the proxy counts") as trial,
    ):
        run = data_run(tasks, STAGING.format(proxy.url), workers=1)
        puts = proxy.add(answer=403, body=FORBIDDEN, methods=("PUT",), first=1, times=None)
        fault = proxy.add(answer=403, body=FORBIDDEN, first=8, times=None)
        run.start()
        with CommandLines(run) as said:
            errors = run.fails()
        assert puts.met
        assert fault.met
        done = run.seen()
        assert done == [0]
        assert sorted(errors) == [1, 2, 3, 4, 5]
        kinds = [errors[number]["kind"] for number in sorted(errors)]
        assert kinds[0] == "StageOutError"
        assert kinds[-1] == "StageInError"
        assert len(set(kinds)) == 2
        for number, error in errors.items():
            assert error["where"] == tasks[number][error["kind"] == "StageOutError"][0]
            assert "AccessDenied" in error["words"]
            assert "the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in error["words"]
        keeps_its_secrets(run, said, KEYS["AWS_SECRET_ACCESS_KEY"])
        proxy.faults.clear()
        run.goes_on()
        for number in range(6):
            assert bucket.read(f"out/{number}") == content(f"{number}", SIZE)
        trial.came = "failed; resumed"


CREDENTIALS = "[default]\naws_access_key_id = {}\naws_secret_access_key = {}-secret\naws_session_token = {}-token\n"


@pytest.mark.parametrize("in_time", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_credentials_that_expire_mid_run(data_run, bucket, private_home, monkeypatch, data_matrix, in_time):
    for name in KEYS:
        monkeypatch.delenv(name)
    file = private_home / ".aws" / "credentials"
    file.parent.mkdir()
    file.write_text(CREDENTIALS.format("AKIDOLD", "AKIDOLD", "AKIDOLD"))
    for number in range(4):
        bucket.write(f"{number}", content(f"{number}", SIZE))
    tasks = [([bucket.url(f"{number}")], [bucket.url(f"out/{number}")]) for number in range(4)]
    moment = "renewed in time" if in_time else "renewed later"
    with (
        HttpProxy(bucket.port) as proxy,
        data_matrix.trial("s3", f"keys that expire, {moment}", "the proxy counts") as trial,
    ):
        run = data_run(tasks, STAGING.format(proxy.url).replace("s3.silence = 2", "s3.silence = 100"), workers=1)
        gate = proxy.add(cut=HANG, after=1000, methods=("GET",), says=f"/{bucket.name}/2 ".encode())
        run.start()
        until(lambda: gate.met and run.seen() == [0, 1], lambda: run.told())
        if in_time:
            file.write_text(CREDENTIALS.format("AKIDNEW", "AKIDNEW", "AKIDNEW"))
        expired = proxy.add(answer=400, body=EXPIRED, says=b"AKIDOLD", times=None)
        proxy.drop()
        if in_time:
            run.finishes()
            assert expired.met
        else:
            errors = run.fails()
            assert run.seen() == [0, 1]
            assert sorted(errors) == [2, 3]
            for number, error in errors.items():
                assert (error["kind"], error["where"]) == ("StageInError", tasks[number][0][0])
                for words in ("ExpiredToken", "profile default (shared-credentials-file)", "renew them"):
                    assert words in error["words"]
            file.write_text(CREDENTIALS.format("AKIDNEW", "AKIDNEW", "AKIDNEW"))
            run.goes_on()
        secrets = [f"{key}-{what}" for key in ("AKIDOLD", "AKIDNEW") for what in ("secret", "token")]
        assert not leaks(secrets, run.here)
        assert leaks(secrets, private_home) == [str(file)]
        for number in range(4):
            assert bucket.read(f"out/{number}") == content(f"{number}", SIZE)
        trial.came = "finished" if in_time else "failed; resumed"
