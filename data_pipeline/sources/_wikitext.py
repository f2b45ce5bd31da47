"""Wikitext to the text that a reader of the article sees."""

import html
import re
from collections.abc import Callable

from data_pipeline.sources._templates import expand

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.S)
_OPENING = re.compile(  # elements whose contents are not prose
    r"<(ref|math|chem|ce|gallery|timeline|score|imagemap|syntaxhighlight|source|graph|mapframe|templatestyles|hiero|"
    r"categorytree|inputbox|includeonly|table)\b[^<>]*>",
    re.I,
)
_BREAK = re.compile(r"<(?:br|hr|p|/p|div|/div|li|/li|blockquote|/blockquote)\b[^>]*>", re.I)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_TEMPLATE = re.compile(r"\{\{(?:[^{}]|\{(?!\{)|\}(?!\}))*\}\}")
_TABLE = re.compile(r"^[ :]*\{\|(?:(?!\n[ :]*\{\|).)*?^[ :]*\|\}", re.S | re.M)
_LINK = re.compile(r"\[\[([^\[\]]*)\]\](\w*)")
_WEB_LINK = re.compile(r"\[(?:https?:|ftp:|mailto:)?//[^\s\]]+([^\]]*)\]")
_ADDRESS = re.compile(r"\bhttps?://\S+")
_HEADING = re.compile(r"^(={1,6})\s*(.*?)\s*\1\s*$", re.M)
_LIST_SIGN = re.compile(r"^[*#:;]+\s*", re.M)
_QUOTES = re.compile(r"'{2,5}")
_SWITCH = re.compile(r"__[A-Z]+__")
_EMPTY_BRACKETS = re.compile(r"[ ]?[(（][\s,;，；]*[)）]")
_LEFT_OVER = re.compile(r"\[\[|\]\]|\{\{|\}\}|\{\||\|\}")
_PIPE = "\0"  # stands for "|" within a link, which does not part the arguments of a template
_DEEPEST = 40  # levels of nesting; what is deeper is no article

_ENDINGS = frozenset(  # headings after which no prose comes, in the language of the larger Wikipedias
    {
        "see also",
        "references",
        "notes",
        "external links",
        "further reading",
        "bibliography",
        "sources",
        "citations",
        "einzelnachweise",
        "weblinks",
        "literatur",
        "références",
        "liens externes",
        "voir aussi",
        "referencias",
        "enlaces externos",
        "véase también",
        "参考文献",
        "參考文獻",
        "外部链接",
        "外部連結",
        "参见",
        "參見",
        "参考资料",
        "參考資料",
        "注释",
        "註釋",
    }
)


def _without_unread(text: str) -> str:
    """The text without elements that are not prose; one that is never closed loses its tag alone, later on.

    A missing end is searched for only once for each kind, so that the time is linear in the text.
    """
    kept, end, endless = [], 0, set()
    for opening in _OPENING.finditer(text):
        name = opening[1].lower()
        if opening.start() < end or name in endless:
            continue
        closing = (
            opening if opening[0].endswith("/>") else re.compile(rf"</{name}\s*>", re.I).search(text, opening.end())
        )
        if closing is None:
            endless.add(name)
            continue
        kept.append(text[end : opening.start()])
        end = closing.end()
    return "".join([*kept, text[end:]])


def plain(text: str) -> str:
    """Prose only: no tables, references, files, categories, markup or closing lists of links, and no templates but
    those that are part of a sentence."""
    text = _COMMENT.sub("", text)
    text = _without_unread(text)
    text = _LINK.sub(lambda match: match[0].replace("|", _PIPE), text.replace(_PIPE, ""))
    text = _innermost_first(_TEMPLATE, lambda match: expand(match[0][2:-2]), text).replace(_PIPE, "|")
    text = _innermost_first(_TABLE, "", text)
    text = _innermost_first(_LINK, _link, text)
    text = _WEB_LINK.sub(lambda match: match[1].strip(), text)
    text = _ADDRESS.sub("", text)
    text = _BREAK.sub("\n", text)
    text = _TAG.sub("", text)
    text = _SWITCH.sub("", _QUOTES.sub("", text))
    text = _without_endings(text)
    text = _LIST_SIGN.sub("", _HEADING.sub(r"\2", text))
    text = html.unescape(text).replace("\u00a0", " ")
    text = _EMPTY_BRACKETS.sub("", text)
    return "\n".join(line.strip() for line in _LEFT_OVER.sub("", text).split("\n") if line.strip())


def _innermost_first(pattern: re.Pattern[str], replacement: str | Callable[[re.Match[str]], str], text: str) -> str:
    """Replaces until nothing matches: nested markup goes from the inside out."""
    for _ in range(_DEEPEST):
        text, count = pattern.subn(replacement, text)
        if not count:
            break
    return text


def _link(match: re.Match[str]) -> str:
    target, *rest = match[1].split("|")
    # A name before a colon is a file, a category or another language; what is meant to be read starts with the colon.
    if re.match(r"\w[\w -]*:\S", target) and (len(rest) != 1 or _is_namespace(target)):
        return match[2]
    return (rest[-1] if rest else target.lstrip(":")) + match[2]


def _is_namespace(target: str) -> bool:
    return target.split(":")[0].strip().lower() in _NAMESPACES


_NAMESPACES = frozenset(
    {"file", "image", "category", "media", "datei", "bild", "kategorie", "fichier", "catégorie", "archivo", "imagen"}
    | {"categoría", "文件", "档案", "檔案", "图像", "圖像", "分类", "分類", "ファイル", "画像", "файл", "категория"}
)


def _without_endings(text: str) -> str:
    """Leaves out each section that lists links or sources, up to the next heading of its rank or above."""
    kept, start, rank = [], 0, 0
    for match in _HEADING.finditer(text):
        level, ends = len(match[1]), match[2].strip().lower() in _ENDINGS
        if rank and level > rank:
            continue
        if not rank:
            kept.append(text[start : match.start()])
        start, rank = match.start(), level if ends else 0
    if not rank:
        kept.append(text[start:])
    return "".join(kept)
