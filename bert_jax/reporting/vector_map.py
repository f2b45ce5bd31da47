"""The section of a page that shows vectors as points, near ones near each other: hover to read, type to find."""

from collections.abc import Mapping
from html import escape
from typing import Any

from bert_jax.reporting.numbers import whole
from bert_jax.reporting.sections import section

FILE = "vector_map.json"  # in a work folder: points [n][2] between 0 and 1, texts [n], and of how many vectors
SIZE, MARGIN = 1000, 12
MOST_CHARACTERS = 300

STYLE = """
.map input { width: 100%; padding: .5rem .7rem; border: 1px solid var(--edge); border-radius: .5rem;
  background: var(--page); color: var(--text); font: inherit; }
.map svg { display: block; width: 100%; margin: .8rem 0; touch-action: manipulation; }
.map circle { fill: var(--accent); fill-opacity: .55; } .map circle:focus { outline: none; }
.map circle.off { fill: var(--quiet); fill-opacity: .12; } .map circle.on { fill: var(--warm); fill-opacity: 1; }
.map output { display: block; min-height: 3.2em; overflow-wrap: anywhere; }
"""

SCRIPT = """
document.querySelectorAll(".map").forEach(map => {
  const points = [...map.querySelectorAll("circle")];
  const said = map.querySelector("output"), input = map.querySelector("input");
  const text = point => point.querySelector("title").textContent;
  const show = event => {
    if (event.target.tagName !== "circle") return;
    points.forEach(point => point.classList.toggle("on", point === event.target));
    said.textContent = text(event.target);
  };
  ["pointerover", "click"].forEach(name => map.addEventListener(name, show));
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase().trim();
    let found = 0;
    points.forEach(point => {
      const fits = text(point).toLowerCase().includes(wanted);
      found += fits;
      point.classList.toggle("off", !fits);
      point.classList.remove("on");
    });
    said.textContent = wanted ? `${found} of ${points.length} texts` : "";
  });
});
"""


def vector_map(facts: Mapping[str, Any]) -> str:
    """The section; nothing where there is no map."""
    if not facts.get("points"):
        return ""
    circles = "".join(
        f'<circle cx="{place(x)}" cy="{place(1 - y)}" r="5"><title>{escape(shortened(text))}</title></circle>'
        for (x, y), text in zip(facts["points"], facts["texts"], strict=True)
    )
    picture = f'<svg viewBox="0 0 {SIZE} {SIZE}" role="img" aria-label="Map of vectors">{circles}</svg>'
    field = '<input type="search" placeholder="Find texts" aria-label="Find texts">'
    note = (
        f"{whole(len(facts['points']))} of {whole(facts['vectors'])} vectors by t-SNE: texts with near vectors are "
        "near each other, but distances between groups mean little. Point at one to read it."
    )
    body = f'<div class="card map">{field}{picture}<output></output></div>'
    return section("Map of vectors", note, f"<style>{STYLE}</style>{body}<script>{SCRIPT}</script>")


def place(x: float) -> str:
    """From [0, 1] to the picture's units."""
    return f"{MARGIN + x * (SIZE - 2 * MARGIN):.1f}"


def shortened(text: str) -> str:
    """The head of a text that is too long to be shown."""
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "…"
