// The page of `dbvad watch`, kept fresh by one stream of server-sent events.
import {$} from "./dom.js";
import {showCameras} from "./cameras.js";
import {showEvent} from "./events.js";

const AGAIN_MS = 3000;

function connect() {
  const stream = new EventSource("/api/stream");
  stream.onopen = () => {
    link("connected", "live");
    catchUp();
  };
  stream.onerror = () => {
    link("no connection", "off");
    if (stream.readyState === EventSource.CLOSED) setTimeout(reconnect, AGAIN_MS); // refused: no browser tries again
  };
  stream.addEventListener("cameras", message => showCameras(JSON.parse(message.data)));
  stream.addEventListener("event", message => showEvent(JSON.parse(message.data)));
}

/** What happened before the stream was open; what it brings meanwhile is newer, and stays. */
async function catchUp() {
  const answer = await fetch("/api/events?limit=1000").catch(() => null);
  if (answer?.ok) (await answer.json()).reverse().forEach(showEvent);
}

/** Once the server answers; a token that does not hold any more is asked for by the page itself. */
async function reconnect() {
  const answer = await fetch("/api/cameras").catch(() => null);
  if (answer?.status === 401) location.reload();
  else connect();
}

function link(text, state) {
  $("link").textContent = text;
  $("link").dataset.state = state;
}

connect();
