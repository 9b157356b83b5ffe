"""Reads a page strictly, and says what a reader finds: files, structures, and text. Fails on what no page may have."""
import base64
import hashlib
import html.parser
import re
import sys

VOID = {"meta", "input", "br", "rect"}
ATTRIBUTES = {
    "aria-hidden", "aria-label", "autocomplete", "charset", "class", "content", "for", "height", "hidden", "http-equiv",
    "id", "lang", "name", "open", "preserveaspectratio", "role", "scope", "spellcheck", "type", "viewbox", "width",
}


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.raw, self.policy, self.names = [], set(), {"style": [], "script": []}, None, []

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(set(names)) == len(names) and set(names) <= ATTRIBUTES, (tag, attributes)
        values = dict(attributes)
        if "id" in values:
            assert values["id"] not in self.ids, values
            self.ids.add(values["id"])
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        if tag not in VOID:
            self.open.append("name" if values.get("class") == "n" else tag)
        if values.get("class") == "n":
            self.names.append("")
        if tag in self.raw:
            assert not attributes, tag
            self.raw[tag].append("")

    def handle_startendtag(self, tag, attributes):
        assert self.open[-1] == "svg", tag

    def handle_endtag(self, tag):
        closed = self.open.pop()
        assert closed == tag or (closed, tag) == ("name", "span"), (tag, self.getpos())

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        if inside in self.raw:
            self.raw[inside][-1] += data
        elif inside == "name":
            self.names[-1] += data

    def handle_comment(self, data):
        raise AssertionError(data)


text = open(sys.argv[1], encoding="utf-8", newline="").read()
assert text.startswith('<!doctype html>\n<html lang="en">'), text[:60]
odd = [c for c in text if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c in "\u200b\u200f\u202e\u2066\ufeff"]
assert not odd, odd
page = Page()
page.feed(text)
page.close()
assert not page.open, page.open
for kind, pieces in page.raw.items():
    assert len(pieces) == 1, kind
    digest = base64.b64encode(hashlib.sha256(pieces[0].encode()).digest()).decode()
    assert f"{kind}-src 'sha256-{digest}'" in page.policy, kind
assert page.policy.startswith("default-src 'none';") and "unsafe" not in page.policy
assert not re.search(r"https?:|url\(|@import|innerHTML|insertAdjacent|document\.write|eval", text)
for reference in re.findall(r'for="([^"]*)"', text):
    assert reference in page.ids, reference
print("\n".join(page.names))
