// The list of events, the newest first.
import {$, clone, clock} from "./dom.js";
import {openClip} from "./viewer.js";

const KEPT = 1000; // as many as the server answers with
const rows = new Map(), events = new Map();

/** A line of the log, or an event folded from all its lines; what was told later counts. */
export function showEvent(line) {
  const known = events.get(line.id), newer = !known || known.seq < line.seq;
  keep({...(newer ? {...known, ...line} : {...line, ...known}), kind: known?.kind === "end" ? "end" : line.kind});
}

function keep(event) {
  events.set(event.id, event);
  if (!event.start) return; // its beginning is not in the log any more
  if (!rows.has(event.id)) insert(event);
  const row = rows.get(event.id), over = event.kind === "end";
  const length = (event.end.stream_s - event.start.stream_s).toFixed(1);
  row.querySelector("time").textContent = clock(event.start.wall);
  row.querySelector("time").dateTime = event.start.wall;
  row.querySelector("b").textContent = row.querySelector("b").title = event.camera;
  row.querySelector(".what").textContent = `${length} s, peak ${event.peak.toFixed(2)}` +
    (event.suggestions?.length ? `, perhaps ${event.suggestions[0].name}` : "");
  row.querySelector(".mark").textContent = event.withheld || (over ? event.clip ? "clip" : "" : "going on");
  row.querySelector(".told").textContent = event.explanation?.what || "";
  row.classList.toggle("running", !over);
  row.classList.toggle("withheld", Boolean(event.withheld));
  row.querySelector(".open").setAttribute("aria-disabled", !event.clip);
  for (const thumb of row.querySelectorAll("[data-verdict]"))
    thumb.setAttribute("aria-pressed", thumb.dataset.verdict === event.verdict);
  $("count").textContent = rows.size;
  $("none").hidden = true;
}

function insert(event) {
  const row = clone("row");
  row.dataset.id = event.id;
  row.dataset.start = event.start.wall;
  row.querySelector(".open").onclick = () => events.get(event.id).clip && openClip(events.get(event.id));
  for (const thumb of row.querySelectorAll("[data-verdict]"))
    thumb.onclick = () => judge(event.id, thumb.dataset.verdict);
  rows.set(event.id, row);
  let next = $("events").firstElementChild;
  while (next && next.dataset.start > row.dataset.start) next = next.nextElementSibling;
  $("events").insertBefore(row, next);
  if (rows.size > KEPT) forget($("events").lastElementChild);
}

function forget(row) {
  rows.delete(row.dataset.id);
  events.delete(row.dataset.id);
  row.remove();
}

async function judge(id, verdict) {
  const answer = await fetch("/api/feedback", {method: "POST", headers: {"Content-Type": "application/json"},
    body: JSON.stringify({id, verdict})}).catch(() => null);
  if (answer?.ok) keep({...events.get(id), verdict});
  else rows.get(id).querySelector(".what").textContent = "the thumb was not kept: try again";
}
