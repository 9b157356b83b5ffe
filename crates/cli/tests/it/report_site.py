"""Reads what `selfsame report` writes as strictly as a reader may. Fails on what no page may have.

report_site.py pages DIR     every page: structure, policy, links; prints the name of each page and its headings
report_site.py shown DIR     every page in headless Chromium, on a phone's screen, light and dark; prints how many there are
report_site.py junit FILE    prints suite, case and result of each test case
"""
import base64
import hashlib
import html
import html.parser
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.parse
import xml.etree.ElementTree

VOID = {"meta", "br", "input", "rect"}
ATTRIBUTES = {
    "aria-hidden", "aria-label", "aria-labelledby", "charset", "class", "content", "href", "http-equiv", "id", "lang", "name",
    "role", "scope", "tabindex", "title",
}


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.links, self.headings, self.styles, self.policy = [], set(), [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        assert len(values) == len(attributes) and set(values) <= ATTRIBUTES, (tag, attributes)
        assert tag not in {"script", "img", "iframe", "object", "form", "link", "base"}, tag
        if "id" in values:
            assert values["id"] not in self.ids, values
            self.ids.add(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        if values.get("http-equiv"):
            self.policy = values["content"]
        if tag in {"h1", "h2"}:
            self.headings.append("")
        if tag == "style":
            self.styles.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.styles[-1] += data
        if {"h1", "h2"} & set(self.open):
            self.headings[-1] += data

    def handle_comment(self, data):
        raise AssertionError(data)


def own(root):
    """Pages of the report itself: those of diffs have a test of their own."""
    return [path for path in sorted(root.rglob("*.html")) if path.parent.name != "diffs"]


def pages(root):
    known = {path: Page(path.read_text("utf-8")) for path in own(root)}
    for path, page in known.items():
        text = path.read_text("utf-8")
        assert text.startswith('<!doctype html>\n<html lang="en">'), text[:60]
        odd = [c for c in text if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c in "\u200b\u200f\u202e\u2066\ufeff"]
        assert not odd, odd
        digest = base64.b64encode(hashlib.sha256(page.styles[0].encode()).digest()).decode()
        assert len(page.styles) == 1 and f"style-src 'sha256-{digest}'" in page.policy
        assert page.policy.startswith("default-src 'none';") and "unsafe" not in page.policy and "script" not in page.policy
        assert not re.search(r"https?:|url\(|@import", text)
        for link in page.links:
            place, _, anchor = link.partition("#")
            assert not urllib.parse.urlsplit(link).scheme and not place.startswith("/"), link
            target = (path.parent / urllib.parse.unquote(place)).resolve() if place else path.resolve()
            assert target.is_file() and root.resolve() in target.parents, link
            if anchor and target.suffix == ".html" and not anchor.startswith("q="):
                assert anchor in known[root / target.relative_to(root.resolve())].ids, link
        print(path.name, *page.headings, sep="|")


# Measures each frame: whether it scrolls sideways, the least contrast of its text, and what is too small to be hit.
HARNESS = """<!doctype html><meta charset="utf-8"><style>iframe{border:0;width:%dpx;height:800px}</style>%s<pre id="result"></pre>
<script>
addEventListener("load", () => {
  const light = (text) => {
    const [r, g, b, a] = text.match(/[\\d.]+/g).map(Number);
    const of = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    return { l: 0.2126 * of(r) + 0.7152 * of(g) + 0.0722 * of(b), clear: a === 0 };
  };
  const told = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument, view = frame.contentWindow, least = { ratio: 99, text: "" };
    page.querySelectorAll("details").forEach((one) => { one.open = true; });
    const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
    let texts = 0;
    while (walker.nextNode()) {
      const text = walker.currentNode.data.trim(), inside = walker.currentNode.parentElement;
      if (!text || inside.closest("style,script,.hidden,[hidden]")) continue;
      texts += 1;
      let around = inside;
      while (light(view.getComputedStyle(around).backgroundColor).clear) around = around.parentElement;
      const a = light(view.getComputedStyle(inside).color).l, b = light(view.getComputedStyle(around).backgroundColor).l;
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (ratio < least.ratio) Object.assign(least, { ratio, text });
    }
    const root = page.documentElement;
    return { name: frame.title, texts, wide: root.scrollWidth - root.clientWidth, least,
      paper: view.getComputedStyle(page.body).backgroundColor };
  });
  document.getElementById("result").textContent = JSON.stringify(told);
});
</script>"""


def shown(root):
    frames = ""
    for path in sorted(root.rglob("*.html")):
        text = path.read_text("utf-8")
        if len(text) > 500_000:
            continue
        # The policy forbids what measures.
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
        frames += f'<iframe title="{html.escape(str(path))}" srcdoc="{html.escape(text)}"></iframe>\n'
    for width in (360, 1280):
        papers = set()
        for scheme in (0, 1):
            with tempfile.TemporaryDirectory() as home:
                harness = pathlib.Path(home) / "harness.html"
                harness.write_text(HARNESS % (width, frames), "utf-8")
                command = [
                    "chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home}/profile",
                    f"--blink-settings=preferredColorScheme={scheme}", "--window-size=1400,900",
                    "--virtual-time-budget=20000", "--dump-dom", harness.as_uri(),
                ]
                dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
            result = html.unescape(dom.split('<pre id="result">')[1].split("</pre>")[0])
            told = json.loads(result)
            assert told, dom
            for page in told:
                assert page["texts"] > 5, page
                assert page["wide"] <= 0, page
                assert page["least"]["ratio"] >= 4.5, page
                papers.add(page["paper"])
        assert len(papers) == 2, papers
    print(len(told))


def junit(path):
    root = xml.etree.ElementTree.parse(path).getroot()
    assert root.tag == "testsuites", root.tag
    for suite in root:
        cases = suite.findall("testcase")
        counted = {"tests": cases, "failures": suite.findall("testcase/failure"), "skipped": suite.findall("testcase/skipped")}
        for name, found in counted.items():
            assert int(suite.get(name)) == len(found), name
        for case in cases:
            failure = case.find("failure")
            result = "skipped" if case.find("skipped") is not None else "passed" if failure is None else "failed"
            message = "" if failure is None else failure.get("message")
            print(suite.get("name"), case.get("name"), result, message, sep="|")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    {"pages": pages, "shown": shown}.get(sys.argv[1], junit)(
        pathlib.Path(sys.argv[2])
    )
