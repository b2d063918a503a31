// A card a camera: its state, its last picture, its scores and its figures.
import {$, clone, colour, span} from "./dom.js";

const cards = new Map();

export function showCameras(cameras) {
  const live = cameras.filter(camera => camera.state === "live").length;
  $("summary").textContent = `${live} of ${cameras.length} live`;
  if (document.hidden) return; // no pictures are fetched for nobody
  for (const camera of cameras) {
    if (!cards.has(camera.camera)) cards.set(camera.camera, newCard(camera.camera));
    showCamera(cards.get(camera.camera), camera);
  }
}

function newCard(name) {
  const card = clone("card"), title = card.querySelector("h3");
  title.textContent = title.title = name;
  card.querySelector("img").alt = `last picture of ${name}`;
  card.querySelector("canvas").setAttribute("aria-label", `scores of ${name}`);
  $("cameras").append(card);
  return card;
}

function showCamera(card, camera) {
  card.dataset.state = camera.state;
  card.querySelector(".badge").textContent = {waiting: "lost"}[camera.state] || camera.state;
  const away = camera.down_since === null || camera.state === "ended" ? "" :
    `${camera.connections ? "lost" : "no picture"} for ${span(Date.now() / 1000 - camera.down_since)}`;
  card.querySelector(".why").textContent = [away, camera.why].filter(Boolean).join(": ");
  const image = card.querySelector("img"), shot = `${camera.shot}-${camera.scored}`;
  if (camera.shot !== null && card.dataset.shot !== shot && image.complete) {
    card.dataset.shot = shot;
    image.src = `/api/frame/${encodeURIComponent(camera.camera)}?${shot}`;
  }
  const late = camera.latency_p95_s === null ? "–" : `${Math.round(1000 * camera.latency_p95_s)} ms`;
  const figures = {fps: camera.fps.toFixed(1), late, dropped: camera.dropped + camera.overrun, losses: camera.losses};
  for (const [name, value] of Object.entries(figures)) card.querySelector(`[data-of=${name}]`).textContent = value;
  drawCurve(card.querySelector("canvas"), camera.curve, camera.on);
}

function drawCurve(canvas, curve, on) {
  const pen = canvas.getContext("2d");
  const width = canvas.width = canvas.clientWidth * devicePixelRatio;
  const height = canvas.height = canvas.clientHeight * devicePixelRatio;
  const thin = devicePixelRatio, y = score => height - 2 * thin - score * (height - 4 * thin);
  pen.lineWidth = thin;
  pen.strokeStyle = colour("--faint");
  pen.setLineDash([4 * thin, 4 * thin]);
  pen.beginPath();
  pen.moveTo(0, y(on));
  pen.lineTo(width, y(on));
  pen.stroke();
  pen.setLineDash([]);
  if (curve.length < 2) return;
  const [first, last] = [curve[0][0], curve[curve.length - 1][0]];
  pen.lineWidth = 1.5 * thin;
  pen.strokeStyle = colour("--curve");
  pen.beginPath();
  for (const [at, score] of curve) pen.lineTo((at - first) / (last - first) * width, y(score));
  pen.stroke();
  pen.lineTo(width, height);
  pen.lineTo(0, height);
  pen.fillStyle = colour("--wash");
  pen.fill();
}
