"""Nobody but the browser that opened the link, from the desk's own page, is let in."""

import httpx
import pytest

from tests.desk.conftest import opened


def test_the_link_is_good_once_and_nothing_works_without_its_cookie() -> None:
    with opened() as client:
        assert client.get("/").status_code == 200
        with httpx.Client(base_url=client.base_url, trust_env=False) as other:
            assert other.get(client.link).status_code == 403  # used up
            assert other.get("/").status_code == 403
            assert other.get("/start/" + "a" * 43).status_code == 403
            other.cookies.set("cipherlens-desk", "a" * 43)
            assert other.get("/").status_code == 403
            for cookie in ("cipherlens-desk=\u00fc", "cipherlens-desk", 'cipherlens-desk="'):
                assert other.get("/", headers={"Cookie": cookie.encode()}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.nip.io:8765"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_pages_and_other_names_are_refused(headers: dict[str, str]) -> None:
    with opened() as client:
        for method, path in (("GET", "/"), ("GET", "/board"), ("POST", "/clear"), ("POST", "/photos")):
            answer = client.request(method, path, headers=headers)
            assert (answer.status_code, answer.text[:7]) == (403, "Refused")
        without = httpx.Request("POST", client.base_url.join("/clear"), cookies=dict(client.cookies))
        assert client.send(without).status_code == 403  # a change says where it comes from
        assert client.get("/board").status_code == 200


def test_every_answer_is_closed_to_others() -> None:
    with opened() as client:
        for path in ("/", "/board", "/static/desk.js", "/static/htmx.min.js", "/nowhere/at/all"):
            answer = client.get(path)
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
        page = client.get("/").text
        assert "style=" not in page and "onclick" not in page and "<script>" not in page
        cookie = client.get("/start/x", headers={"Cookie": ""}).headers.get("set-cookie", "")
        assert cookie == ""
