"use strict";
// The page of `dbvad watch`: cards, events and clips, kept fresh by one stream of server-sent events.

const $ = id => document.getElementById(id);
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const clock = wall => new Date(wall).toLocaleString([], {dateStyle: "short", timeStyle: "medium"});
const cards = new Map(), rows = new Map(), events = new Map();
let plot = null;

function showCameras(cameras) {
  const live = cameras.filter(camera => camera.state === "live").length;
  $("summary").textContent = `${live} of ${cameras.length} cameras live`;
  for (const camera of cameras) {
    let card = cards.get(camera.camera);
    if (!card) {
      card = $("card").content.firstElementChild.cloneNode(true);
      card.querySelector("h3").textContent = camera.camera;
      card.querySelector("img").alt = `last picture of ${camera.camera}`;
      cards.set(camera.camera, card);
      $("cameras").append(card);
    }
    const badge = card.querySelector(".badge"), image = card.querySelector("img");
    const away = camera.state === "live" || !camera.down_since ? "" :
      ` for ${span(Date.now() / 1000 - camera.down_since)}`;
    badge.textContent = camera.state === "live" ? "live" : {ended: "ended"}[camera.state] || `away${away}`;
    badge.className = `badge ${camera.state}`;
    card.classList.toggle("away", camera.state !== "live");
    if (camera.shot !== null && card.dataset.shot !== `${camera.shot}`) {
      card.dataset.shot = camera.shot;
      image.src = `/api/frame/${encodeURIComponent(camera.camera)}?${camera.scored}`;
    }
    const late = camera.latency_p95_s === null ? "–" : `${Math.round(1000 * camera.latency_p95_s)} ms`;
    figures(card.querySelector("dl"), {"frames/s": camera.fps.toFixed(1), latency: late,
      dropped: camera.dropped + camera.overrun, losses: camera.losses});
    drawCurve(card.querySelector("canvas"), camera.curve, camera.on);
  }
}

function span(seconds) {
  return seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` :
    `${Math.round(seconds / 3600)} h`;
}

function figures(list, values) {
  list.replaceChildren(...Object.entries(values).map(([name, value]) => {
    const pair = document.createElement("div"), term = document.createElement("dt");
    const shown = document.createElement("dd");
    term.textContent = name;
    shown.textContent = value;
    pair.append(term, shown);
    return pair;
  }));
}

function drawCurve(canvas, curve, on) {
  const pen = canvas.getContext("2d"), {width, height} = canvas;
  pen.clearRect(0, 0, width, height);
  const y = score => height - 4 - score * (height - 8);
  pen.strokeStyle = colour("--line");
  pen.lineWidth = 2;
  pen.setLineDash([8, 8]);
  pen.beginPath();
  pen.moveTo(0, y(on));
  pen.lineTo(width, y(on));
  pen.stroke();
  pen.setLineDash([]);
  if (curve.length < 2) return;
  const [first, last] = [curve[0][0], curve[curve.length - 1][0]];
  pen.strokeStyle = colour("--curve");
  pen.lineWidth = 3;
  pen.beginPath();
  for (const [at, score] of curve) pen.lineTo((at - first) / (last - first) * width, y(score));
  pen.stroke();
}

function showEvent(line, older = false) {
  const known = events.get(line.id) || {}, kind = known.kind === "end" ? "end" : line.kind;
  const event = {...known, ...line, kind};
  events.set(line.id, event);
  let row = rows.get(line.id);
  if (!row) {
    row = $("row").content.firstElementChild.cloneNode(true);
    row.dataset.id = line.id;
    row.querySelector(".open").onclick = () => openClip(line.id);
    for (const thumb of row.querySelectorAll(".thumbs button"))
      thumb.onclick = () => judge(line.id, thumb.dataset.verdict);
    rows.set(line.id, row);
    if (older) $("events").append(row);
    else $("events").prepend(row);
  }
  if (event.start) {
    row.querySelector("time").textContent = clock(event.start.wall);
    row.querySelector("time").dateTime = event.start.wall;
    const length = (event.end.stream_s - event.start.stream_s).toFixed(1);
    row.querySelector(".what").textContent = (kind === "end" ? "" : "going on, ") +
      `${length} s, peak ${event.peak.toFixed(2)}` + (event.clip ? "" : kind === "end" ? ", no clip" : "");
  }
  row.querySelector("b").textContent = event.camera;
  row.classList.toggle("running", kind !== "end");
  row.querySelector(".open").setAttribute("aria-disabled", !event.clip);
  for (const thumb of row.querySelectorAll(".thumbs button"))
    thumb.setAttribute("aria-pressed", thumb.dataset.verdict === event.verdict);
  $("count").textContent = `(${events.size})`;
  $("none").hidden = true;
}

async function judge(id, verdict) {
  const answer = await fetch("/api/feedback", {method: "POST", headers: {"Content-Type": "application/json"},
    body: JSON.stringify({id, verdict})});
  if (answer.ok) showEvent({...events.get(id), verdict});
}

async function openClip(id) {
  const event = events.get(id);
  if (!event.clip) return;
  const video = $("video"), address = `/api/clip/${event.clip}`;
  $("viewer-title").textContent = `${event.camera}, ${clock(event.start.wall)}`;
  $("download").href = address;
  $("unplayable").hidden = true;
  video.onerror = () => { $("unplayable").hidden = false; };
  video.src = address;
  $("viewer").showModal();
  const answer = await fetch(`/api/clip/${id}.json`);
  if (answer.ok) plotClip(await answer.json(), video);
}

function plotClip(found, video) {
  if (plot) plot.destroy();
  const axis = {stroke: colour("--faint"), grid: {stroke: colour("--line")}};
  plot = new uPlot({
    width: Math.max(260, $("curve").clientWidth), height: 160, legend: {show: false}, cursor: {drag: {x: false}},
    scales: {x: {time: false}, y: {range: [0, 1]}},
    axes: [{...axis, values: (_, ticks) => ticks.map(at => `${at} s`)}, {...axis, size: 40}],
    series: [{}, {stroke: colour("--curve"), width: 2}],
    hooks: {draw: [u => band(u, found), u => playhead(u, video)]},
  }, [found.scores.map(point => point[0]), found.scores.map(point => point[1])], $("curve"));
  plot.over.onclick = click => { video.currentTime = Math.max(0, plot.posToVal(click.offsetX, "x")); };
  video.ontimeupdate = () => plot && plot.redraw(false);
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

$("viewer").onclose = () => {
  $("video").pause();
  $("video").removeAttribute("src");
  if (plot) plot.destroy();
  plot = null;
};

async function start() {
  for (const event of await (await fetch("/api/events")).json()) showEvent(event, true);
  const stream = new EventSource("/api/stream");
  stream.onopen = () => { $("link").textContent = "connected"; $("link").className = "badge live"; };
  stream.onerror = () => { $("link").textContent = "no connection"; $("link").className = "badge off"; };
  stream.addEventListener("cameras", message => showCameras(JSON.parse(message.data)));
  stream.addEventListener("event", message => showEvent(JSON.parse(message.data)));
}

start();
