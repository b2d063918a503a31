// An event's clip over its scores: a click on the curve goes there.
import {$, clock, colour} from "./dom.js";

const HEIGHT = 160;
const TOLD = {what: "what", who: "who", place: "where", outcome: "outcome", against: "against it", model: "told by"};
let plot = null;

export async function openClip(event) {
  const video = $("video"), address = `/api/clip/${event.clip}`;
  $("viewer-title").textContent = `${event.camera}, ${clock(event.start.wall)}`;
  $("download").href = address;
  $("unplayable").hidden = true;
  video.hidden = false;
  video.onerror = () => { $("unplayable").hidden = !video.hasAttribute("src"); };
  video.src = address;
  $("told").replaceChildren(...Object.entries(TOLD).flatMap(([key, word]) => told(word, event.explanation?.[key])),
    ...told("verdict", event.verified));
  $("viewer").showModal();
  const answer = await fetch(`/api/clip/${event.id}.json`);
  if (answer.ok && $("viewer").open) showCurve(await answer.json(), video);
}

/** What a describing model said of the event's pictures. */
function told(word, text) {
  if (!text) return [];
  const [term, said] = [document.createElement("dt"), document.createElement("dd")];
  [term.textContent, said.textContent] = [word, text];
  return [term, said];
}

function showCurve(found, video) {
  if (plot) plot.destroy();
  const axis = {stroke: colour("--faint"), grid: {stroke: colour("--line"), width: 1}};
  plot = new uPlot({
    width: $("curve").clientWidth, height: HEIGHT, legend: {show: false}, cursor: {drag: {x: false}},
    scales: {x: {time: false}, y: {range: [0, 1]}},
    axes: [{...axis, values: (_, ticks) => ticks.map(at => `${at} s`)}, {...axis, size: 40}],
    series: [{}, {stroke: colour("--curve"), width: 2, points: {show: false}}],
    hooks: {draw: [u => band(u, found), u => playhead(u, video)]},
  }, [found.scores.map(point => point[0]), found.scores.map(point => point[1])], $("curve"));
  plot.over.onclick = click => { video.currentTime = Math.max(0, plot.posToVal(click.offsetX, "x")); };
  video.ontimeupdate = video.onseeked = () => plot && plot.redraw(false);
}

function band(u, found) {
  const {left, top, width, height} = u.bbox;
  const from = Math.max(left, u.valToPos(found.start_s, "x", true));
  const to = Math.min(left + width, u.valToPos(found.end_s, "x", true));
  u.ctx.fillStyle = colour("--band");
  if (to > from) u.ctx.fillRect(from, top, to - from, height);
}

function playhead(u, video) {
  const {left, top, width, height} = u.bbox, x = u.valToPos(video.currentTime, "x", true);
  u.ctx.fillStyle = colour("--mark");
  if (x >= left && x <= left + width) u.ctx.fillRect(x, top, 2 * devicePixelRatio, height);
}

addEventListener("resize", () => plot && plot.setSize({width: $("curve").clientWidth, height: HEIGHT}));

$("viewer").onclose = () => {
  $("video").pause();
  $("video").removeAttribute("src");
  $("video").load();
  if (plot) plot.destroy();
  plot = null;
};
