"""The style of the pages: one sheet, no font or picture from elsewhere, light and dark.

Fonts for Chinese, Japanese and Korean are named last: browsers whose standard font lacks them show boxes otherwise.
"""

from html import escape

CSS = """
:root {
  color-scheme: light dark;
  --page: #faf9f6; --card: #ffffff; --edge: #e6e2da; --text: #1d1c1a; --quiet: #625f59; --accent: #1f5fbf;
  --soft: #e8eff9;
  --good: #14735a; --warm: #a85508;
  --chart-ink: #5c5a55; --chart-grid: #e9e6df; --chart-line: #1f5fbf; --chart-faint: #a9c3e8;
  --chart-baseline: #a85508; --chart-mark: #14735a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #131416; --card: #1b1d20; --edge: #2d3034; --text: #eceae6; --quiet: #a5a29b; --accent: #86b1f5;
    --soft: #212c3d;
    --good: #63cda8; --warm: #eea55c;
    --chart-ink: #aaa7a0; --chart-grid: #2c2f33; --chart-line: #86b1f5; --chart-faint: #54719f;
    --chart-baseline: #eea55c; --chart-mark: #63cda8;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans",
    "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic",
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", sans-serif;
}
main, header, footer { max-width: 62rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 3.5rem; }
.kicker { margin: 0; color: var(--quiet); font-size: .8rem; font-weight: 600; letter-spacing: .09em;
  text-transform: uppercase; }
h1 { margin: .2rem 0 .6rem; font-size: clamp(2rem, 6vw, 2.9rem); line-height: 1.1; letter-spacing: -.02em;
  overflow-wrap: anywhere; }
.lede { margin: 0; max-width: 46rem; color: var(--quiet); font-size: 1.12rem; }
h2 { margin: 0 0 .9rem; font-size: 1.45rem; line-height: 1.25; letter-spacing: -.01em; }
h3 { margin: 0; font-size: 1rem; line-height: 1.4; }
section { margin-top: 3.5rem; }
section > p { margin: -.6rem 0 1.2rem; max-width: 46rem; color: var(--quiet); }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono",
    "Noto Sans Mono CJK SC", "PingFang SC", "Microsoft YaHei", monospace; font-size: .9em;
  overflow-wrap: anywhere; }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: .75rem; padding: 1.25rem 1.4rem;
  margin: 0; }
.grid { display: grid; gap: 1rem; }
.two { grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); }
section > * + .card, section > * + .grid { margin-top: 1rem; }
section > h2 + .card, section > h2 + .grid, section > p + .card, section > p + .grid { margin-top: 0; }

.tiles { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1px; margin: 2.2rem 0 0; background: var(--card);
  border: 1px solid var(--edge); border-radius: .75rem; overflow: hidden; }
.tiles > div { padding: 1.1rem 1.4rem 1.2rem; box-shadow: 0 0 0 1px var(--edge); }
.tiles dt { color: var(--quiet); font-size: .88rem; }
.tiles dd { margin: 0; }
.tiles .number { font-size: 1.9rem; font-weight: 650; line-height: 1.25; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; }
.tiles .unit { margin-left: .25em; font-size: .5em; font-weight: 500; letter-spacing: 0; color: var(--quiet); }
.tiles .note { color: var(--quiet); font-size: .88rem; line-height: 1.4; }
.good { color: var(--good); font-weight: 600; }
.warm { color: var(--warm); font-weight: 600; }

.chart { display: block; width: 100%; height: auto; margin-top: .6rem; overflow: visible; }
.chart * { stroke-linejoin: round; stroke-linecap: butt; }
.chart text { font-family: inherit; font-variant-numeric: tabular-nums; }
.narrow { display: none; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .35rem 0 0; padding: 0; list-style: none;
  color: var(--quiet); font-size: .88rem; }
.legend li { display: flex; align-items: center; gap: .5em; }
.legend i { width: 1.4em; border-top: 3px solid; }
.legend .dashed { border-top-style: dashed; border-top-width: 2px; }
.legend .dot { width: .7em; height: .7em; border: 0; border-radius: 50%; }
figcaption small { color: var(--quiet); font-size: .88rem; font-weight: 400; }

.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { padding-bottom: .5rem; text-align: left; font-weight: 650; }
th, td { padding: .55rem 0 .55rem 1.4rem; text-align: right; border-top: 1px solid var(--edge);
  vertical-align: baseline; }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
th { font-weight: 500; }
thead th { padding-top: 0; border-top: 0; color: var(--quiet); font-size: .88rem; }
td.words, th.words { text-align: left; }

.sentence { margin: 0 0 .9rem; font-size: 1.08rem; line-height: 1.5; overflow-wrap: anywhere; }
.sentence mark { padding: .08em .4em; border-radius: .35em; background: var(--soft); color: var(--accent);
  font-weight: 600; }
.bars { margin: 0; padding: 0; list-style: none; }
.bars li { display: grid; grid-template-columns: minmax(5.5rem, 30%) 1fr 3.6rem; align-items: center; gap: .7rem;
  padding: .16rem 0; font-size: .95rem; }
.bars + .bars { margin-top: .7rem; padding-top: .7rem; border-top: 1px solid var(--edge); }
.bars .track { height: .6rem; border-radius: .3rem; background: var(--soft); overflow: hidden; }
.bars .track i { display: block; height: 100%; min-width: 2px; border-radius: .3rem; background: var(--accent); }
.bars .share { text-align: right; color: var(--quiet); font-variant-numeric: tabular-nums; }
.bars .token { overflow-wrap: anywhere; line-height: 1.3; }

.row { margin: 0; font-size: .97rem; line-height: 1.95; overflow-wrap: anywhere; }
.row span { padding: .22em 0; white-space: pre-wrap; }
.row .d0 { background: #3b7ddd2e; } .row .d1 { background: #e0912b38; } .row .d2 { background: #2aa37833; }
.row .d3 { background: #b45bd02b; } .row .d4 { background: #d9534f2e; } .row .d5 { background: #7d8a992e; }
.row .special { color: var(--quiet); font-size: .78em; padding: .35em .25em; }
.row mark { padding: .1em .15em; border-radius: .25em; background: var(--accent); color: var(--page);
  white-space: pre-wrap; }
.row mark.random { background: none; color: inherit; box-shadow: inset 0 0 0 2px var(--warm); }
.row mark.kept { background: none; color: inherit; box-shadow: inset 0 0 0 2px var(--good); }
.row .together { padding-bottom: .2em; border-bottom: 2px solid var(--accent); }
.row mark small { margin-left: .35em; font-size: .75em; opacity: .85; }
.caption { margin: .7rem 0 0; color: var(--quiet); font-size: .85rem; }
.samples { margin: .9rem 0 0; padding: 0; list-style: none; font-size: .93rem; }
.samples li { padding: .5rem 0; border-top: 1px solid var(--edge); overflow-wrap: anywhere; }
.samples b { font-weight: 600; } .samples small { color: var(--quiet); }

.files { margin: 0; }
.files div { display: grid; grid-template-columns: 13rem 1fr; gap: 0 1.2rem; padding: .5rem 0;
  border-top: 1px solid var(--edge); }
.files div:first-child { border-top: 0; padding-top: 0; }
.files div:last-child { padding-bottom: 0; }
.files dd { margin: 0; color: var(--quiet); overflow-wrap: anywhere; }
a { color: var(--accent); text-underline-offset: .2em; }
a:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px;
  border-radius: .2rem; }

summary { cursor: pointer; font-weight: 600; }
.tree { columns: 2 20rem; column-gap: 3rem; margin-top: 1.2rem; }
.tree section { margin: 0 0 1.3rem; break-inside: avoid; }
.tree h3 { padding-bottom: .25rem; border-bottom: 1px solid var(--edge); }
.tree dl { margin: 0; }
.tree dl div { display: flex; justify-content: space-between; gap: 1.2rem; padding: .2rem 0; font-size: .93rem; }
.tree dt { color: var(--quiet); }
.tree dd { margin: 0; text-align: right; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
footer { margin-top: 3.5rem; padding-bottom: 3rem; color: var(--quiet); font-size: .88rem; }

@media (max-width: 46rem) {
  header { padding-top: 2rem; }
  main, header, footer { padding-left: 1rem; padding-right: 1rem; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  .tiles > div { padding: .85rem 1rem .95rem; }
  .tiles .number { font-size: 1.3rem; }
  .card { padding: 1rem; }
  .wide { display: none; }
  .narrow { display: block; }
  .files div { grid-template-columns: 1fr; }
  section { margin-top: 2.6rem; }
  table { font-size: .9rem; }
  th, td { padding-left: .6rem; }
}
@media print { body { background: #fff; } .card { break-inside: avoid; } }
"""


def html_page(title: str, header: str, body: str, made_from: str) -> str:
    """A self-contained page; header and body are HTML, the other two text."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{CSS}</style>
</head>
<body>
<header>{header}</header>
<main>{body}</main>
<footer>Made by bert_jax {escape(made_from)}.</footer>
</body>
</html>
"""
