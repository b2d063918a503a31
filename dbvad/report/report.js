"use strict";
(() => {
  const RIGHT = 10, TOP = 8, BOTTOM = 26; // margins of a timeline's plot, in pixels; style.css knows them too
  const LANES = {kess: "KESS", topm: "top-m", uniform: "uniform"};
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)");
  const viewer = document.getElementById("viewer");
  const links = [...document.querySelectorAll("#list a")];
  const charts = new Map(); // element -> what draws it (again when the colours change) and what watches its size

  // Elements: make("p", {class: "note"}, "text", child, ...)
  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes))
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function clock(t, unit, precise = false) {
    if (unit === "frame") return String(Math.round(t));
    const tenths = Math.round(t * (precise ? 10 : 1)) / (precise ? 10 : 1);
    const hours = Math.floor(tenths / 3600), minutes = Math.floor(tenths / 60) % 60;
    const seconds = (tenths % 60).toFixed(precise ? 1 : 0).padStart(precise ? 4 : 2, "0");
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${seconds}` : `${minutes}:${seconds}`;
  }

  function ticks([from, to], unit, width) {
    const steps = unit === "frame" ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000, 100000, 500000]
      : [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400];
    const step = steps.find((s) => (to - from) / s <= width / 64) ?? steps.at(-1);
    const values = [];
    for (let k = Math.ceil(from / step - 1e-9); k * step <= to + 1e-9; k++) values.push(k * step);
    return {tickvals: values, ticktext: values.map((t) => clock(t, unit, step < 1))};
  }

  function layout(extra) {
    const axis = {zeroline: false, gridcolor: colour("line"), linecolor: colour("line"), tickfont: {size: 12, color: colour("muted")}, automargin: false};
    return {
      ...extra, margin: {r: RIGHT, t: TOP, b: BOTTOM, ...extra.margin}, showlegend: false, hovermode: extra.hovermode ?? false,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {family: getComputedStyle(document.body).fontFamily, color: colour("ink")},
      xaxis: {...axis, ...extra.xaxis}, yaxis: {...axis, fixedrange: true, ...extra.yaxis},
    };
  }
  const CONFIG = {displayModeBar: false, responsive: true, showTips: false, doubleClick: "reset"};

  // Plotly is large: the page is there to read and to use before it is compiled.
  const plotly = new Promise((resolve) => addEventListener("load", () => setTimeout(() => {
    document.head.append(make("script", {}, document.getElementById("plotly").textContent));
    resolve();
  })));
  function draw(element, render, observer) {
    charts.set(element, {render, observer});
    render();
  }
  function forget(root) {
    for (const [element, {observer}] of charts) {
      if (!root.contains(element)) continue;
      observer?.disconnect();
      Plotly.purge(element);
      charts.delete(element);
    }
  }
  dark.addEventListener("change", () => charts.forEach(({render}) => render()));

  // ROC and precision-recall
  function drawCurves(source) {
    const data = JSON.parse(source.textContent);
    const plain = {range: [0, 1.01], dtick: 0.25, tickformat: ".0%"};
    const curve = (id, x, y, across, up, chance) => draw(document.getElementById(id), () => Plotly.react(id, [
      {x: [0, 1], y: chance, mode: "lines", line: {color: colour("mid"), width: 1, dash: "dot"}, hoverinfo: "skip"},
      {x, y, mode: "lines", line: {color: colour("accent"), width: 2}, hovertemplate: `${across} %{x:.1%}<br>${up} %{y:.1%}<extra></extra>`},
    ], layout({
      hovermode: "closest", dragmode: false, margin: {l: 56, r: 18, b: 44},
      xaxis: {...plain, fixedrange: true, title: {text: across, font: {size: 12, color: colour("muted")}, standoff: 8}},
      yaxis: {...plain, title: {text: up, font: {size: 12, color: colour("muted")}, standoff: 6}},
    }), CONFIG));
    curve("roc", data.false_rate, data.true_rate, "false positive rate", "true positive rate", [0, 1]);
    const share = data.precision.at(-1); // of the lowest threshold: every frame is called true
    curve("pr", [0, ...data.recall], [data.precision[0], ...data.precision], "recall", "precision", [share, share]);
  }

  // Data of a video: in this page, or in a script beside it
  const loaded = new Map(), waiting = new Map();
  window.receive = (number, data) => {
    waiting.get(number)?.(data);
    waiting.delete(number);
  };
  function load(number) {
    if (!loaded.has(number)) loaded.set(number, fetchData(number));
    return loaded.get(number);
  }
  function fetchData(number) {
    const inline = document.getElementById(`data-${number}`);
    if (inline) return Promise.resolve(JSON.parse(inline.textContent));
    return new Promise((resolve, reject) => {
      waiting.set(number, resolve);
      const script = make("script", {src: `${viewer.dataset.folder}/${number}.js`});
      script.onerror = script.onload = () => {
        script.remove();
        if (!waiting.delete(number)) return; // it was handed over
        loaded.delete(number);
        reject(new Error(`${script.getAttribute("src")} is not beside this page, or not whole: keep them together, or make the report again.`));
      };
      document.head.append(script);
    });
  }

  const image = (data, k, alt) => make("img", {src: `data:image/jpeg;base64,${data.frames.jpeg[k]}`, alt, decoding: "async"});
  function nearest(times, t) {
    let best = -1;
    times.forEach((at, k) => { if (best < 0 || Math.abs(at - t) < Math.abs(times[best] - t)) best = k; });
    return best;
  }
  function valueAt(series, t, steps) {
    if (!series) return null;
    let k = 0;
    while (k + 1 < series.y.length && series.x[k + 1] <= t) k++;
    return steps ? series.y[k] : series.y[nearest(series.x, t)];
  }
  const eventAt = (data, t) => data.truth?.find(([from, to]) => t >= from && t < to);

  // The timeline of a video; returns its elements and a function that moves it to a time
  function timeline(data) {
    const main = data.score ?? data.event;
    const lanes = data.picks ? Object.keys(LANES).filter((name) => data.picks[name]) : [];
    const name = data.score ? "anomaly score" : "event score";
    const left = lanes.length ? 58 : 36;
    const chart = make("div", {class: "chart", role: "img", "aria-label": main && describe(data, main, name)});
    const cursor = make("div", {class: "cursor"});
    const track = make("div", {class: lanes.length ? "track lanes" : "track"}, chart, cursor);
    const slider = make("input", {type: "range", min: 0, max: 1000, step: 5, value: 0, "aria-label": `Time in ${data.id}`});
    const film = make("div", {class: "film"});
    const still = make("figure", {class: "still"});
    const picture = data.frames.at.length ? make("img", {alt: ""}) : null;
    const caption = make("figcaption");
    still.append(...picture ? [picture, caption] : [caption]);
    let range = [0, data.end];
    let shown = -1;

    const key = (t, event) => ({x: t, y: t.map(() => event), mode: "markers", hoverinfo: "skip", cliponaxis: false});
    function render() {
      const width = Math.max(chart.clientWidth - left - RIGHT, 100);
      const traces = [];
      if (data.score) traces.push({
        x: data.score.x, y: [...data.score.y, data.score.y.at(-1)], mode: "lines", hoverinfo: "skip",
        line: {shape: "hv", color: colour("ink"), width: 1.6}, fill: "tozeroy", fillcolor: colour("fill")});
      if (data.event) traces.push({
        x: data.event.x, y: data.event.y, mode: "lines", hoverinfo: "skip",
        line: {color: colour(data.score ? "mid" : "ink"), width: data.score ? 1.2 : 1.6},
        ...data.score ? {} : {fill: "tozeroy", fillcolor: colour("fill")}});
      const level = (k) => 1.16 + 0.15 * (lanes.length - 1 - k); // the first one on top
      lanes.forEach((lane, k) => traces.push({
        ...key(data.picks[lane], level(k)),
        marker: {symbol: "diamond", size: 8, color: colour(lane === "kess" ? "ink" : "mid")}}));
      if (!lanes.length && data.keys.length) traces.push({
        ...key(data.keys, 1.1), marker: {symbol: "diamond", size: 8, color: colour("ink")}});
      const events = (data.truth ?? []).flatMap(([from, to]) => [
        {type: "rect", xref: "x", yref: "paper", x0: from, x1: to, y0: 0, y1: 1, fillcolor: colour("wash"), line: {width: 0}, layer: "below"},
        {type: "rect", xref: "x", yref: "paper", x0: from, x1: to, y0: 0, y1: 0.018, fillcolor: colour("accent"), line: {width: 0}}]);
      const top = lanes.length ? level(0) + 0.1 : data.keys.length ? 1.2 : 1.06;
      return Plotly.react(chart, traces, layout({
        margin: {l: left}, shapes: events, dragmode: coarse.matches ? false : "zoom",
        xaxis: {range: [...range], showgrid: false, fixedrange: coarse.matches, ticks: "outside", ticklen: 4, tickcolor: colour("line"), ...ticks(range, data.unit, width)},
        yaxis: {range: [0, top], tickvals: [0, 0.5, 1, ...lanes.map((_, k) => level(k)).reverse()], ticktext: ["0", "0.5", "1", ...lanes.map((lane) => LANES[lane]).reverse()], tickfont: {size: 11, color: colour("muted")}, ticklabelstandoff: lanes.length ? 7 : 2},
      }), CONFIG);
    }

    function place(t) {
      const width = chart.clientWidth - left - RIGHT;
      const across = (t - range[0]) / (range[1] - range[0]);
      cursor.hidden = across < 0 || across > 1;
      cursor.style.left = `${left + across * width}px`;
    }
    function fill() {
      const width = film.clientWidth;
      film.replaceChildren();
      if (!picture || !width) return;
      const count = clamp(Math.round(width / 76), 3, 16);
      for (let k = 0; k < count; k++) {
        const t = range[0] + (k + 0.5) / count * (range[1] - range[0]);
        const at = nearest(data.frames.at, t);
        film.append(image(data, at, `Frame at ${clock(data.frames.at[at], data.unit)}`));
      }
    }
    function seek(t, from = null) {
      t = clamp(t, 0, data.end);
      const at = nearest(data.frames.at, t), score = valueAt(main, t, Boolean(data.score)), event = eventAt(data, t);
      if (picture && at !== shown) {
        picture.src = `data:image/jpeg;base64,${data.frames.jpeg[at]}`;
        picture.alt = `Frame at ${clock(data.frames.at[at], data.unit, true)} of ${data.id}`;
        shown = at;
      }
      const time = clock(t, data.unit, true);
      const inside = event ? `true event${event[2] ? `: ${event[2]}` : ""}` : "";
      caption.replaceChildren(make("b", {}, time), score === null ? "" : ` · ${name} ${score.toFixed(2)}`,
        ...inside ? [make("br"), make("span", {class: "in"}, inside)] : []);
      if (from !== slider) slider.value = String(Math.round(t / data.end * 1000));
      slider.setAttribute("aria-valuetext", [time, score === null ? "" : `${name} ${score.toFixed(2)}`, inside].filter(Boolean).join(", "));
      place(t);
      now = t;
    }
    let now = 0;
    const pointed = (event, box, before, after) => {
      const area = box.getBoundingClientRect();
      return range[0] + clamp((event.clientX - area.left - before) / (area.width - before - after), 0, 1) * (range[1] - range[0]);
    };
    for (const kind of ["pointermove", "pointerdown"]) {
      track.addEventListener(kind, (event) => seek(pointed(event, chart, left, RIGHT)));
      film.addEventListener(kind, (event) => seek(pointed(event, film, 0, 0)));
    }
    slider.addEventListener("input", () => seek(slider.value / 1000 * data.end, slider));

    const strongest = main ? main.x[main.y.indexOf(Math.max(...main.y))] : 0;
    function start() {
      if (main) {
        const resized = new ResizeObserver(() => { Plotly.relayout(chart, ticksFor()); fill(); place(now); });
        plotly.then(() => {
          if (!chart.isConnected) return;
          draw(chart, render, resized);
          resized.observe(track);
          chart.on("plotly_relayout", zoomed);
        });
      }
      fill();
      seek(data.score ? Math.min(strongest + 0.01, data.end) : strongest);
    }
    function zoomed(change) {
      if (!("xaxis.range[0]" in change || "xaxis.range" in change || "xaxis.autorange" in change)) return;
      const asked = chart.layout.xaxis.range;
      range = change["xaxis.autorange"] ? [0, data.end] : asked.map((t) => clamp(t, 0, data.end));
      render();
      fill();
      place(now);
    }
    const ticksFor = () => {
      const found = ticks(range, data.unit, Math.max(chart.clientWidth - left - RIGHT, 100));
      return {"xaxis.tickvals": found.tickvals, "xaxis.ticktext": found.ticktext};
    };
    const entry = (kind, text) => make("li", {}, make("i", {class: kind}), text);
    const legend = make("ul", {class: "legend"}, main ? entry("curve", name) : null,
      data.truth?.length ? entry("event", "true event") : null, lanes.length || data.keys.length ? entry("key", "key frame") : null);
    const column = make("div", {}, ...main ? [legend, track, make("div", {class: "along"}, slider)] : [make("div", {class: "along"}, slider)], film);
    const node = make("div", {class: picture ? "play" : "play bare"}, column, still);
    node.style.setProperty("--left", `${left}px`);
    return {node, start, seek};
  }

  function describe(data, main, name) {
    const peak = main.y.indexOf(Math.max(...main.y));
    const events = (data.truth ?? []).map(([from, to, label]) => `${label || "event"} from ${clock(from, data.unit)} to ${clock(to, data.unit)}`);
    return `Timeline of the ${name} of ${data.id}: highest, ${main.y[peak].toFixed(2)}, at ${clock(main.x[peak], data.unit)}; ` +
      (data.truth === null ? "the truth is not known" : events.length ? `true events: ${events.join("; ")}` : "no true event");
  }

  // Key frames as pictures that move the timeline
  function choice(data, title, note, times, seek) {
    const items = times.map((t) => {
      const k = nearest(data.frames.at, t), event = eventAt(data, t), at = clock(t, data.unit, true);
      return make("li", {}, make("button", {type: "button", class: event ? "in" : null, onclick: () => seek(t)},
        k < 0 ? null : image(data, k, `Key frame of ${data.id}${event ? `, in a true event${event[2] ? ` (${event[2]})` : ""}` : ""}`), make("span", {}, at)));
    });
    return make("div", {class: "choice"}, make("p", {}, make("b", {}, title), note ? ` · ${note}` : ""), make("ol", {}, ...items));
  }
  function choices(data, seek) {
    const rising = (times) => [...times].sort((a, b) => a - b);
    const hits = (times) => data.truth?.length ? `${times.filter((t) => eventAt(data, t)).length} of ${times.length} in a true event` : "";
    if (data.picks) return Object.keys(LANES).map((name) => choice(data, LANES[name],
      [hits(data.picks[name]), name === data.strategy ? "the description was written from these" : ""].filter(Boolean).join(" · "), rising(data.picks[name]), seek));
    if (data.split !== "train") return [make("p", {class: "note"}, `${data.split === "detect" ? "A recording" : "A test video"}: the detector sees its CLIP features alone, so there are no key frames and no description.`)];
    if (!data.keys.length) return [];
    return [choice(data, "Key frames", data.strategy === "uniform" ? "a normal video has no event to look for: they are spread evenly" : data.strategy, rising(data.keys), seek)];
  }

  function quote(text) {
    if (!text) return null;
    const facts = [text.model, text.revision, `prompt ${text.prompt_id}`, text.finish_reason === "stop" ? "" : `ended by ${text.finish_reason}`, ...text.flags];
    return make("blockquote", {}, text.text || "(empty)", make("footer", {}, facts.filter(Boolean).join(" · ")));
  }

  function sentence(text) {
    return make("p", {class: "missing"}, ...text.split("`").map((piece, k) => k % 2 ? make("code", {}, piece) : piece));
  }

  function about(data) {
    const kind = data.labels.length ? data.labels.join(", ") : "";
    const parts = [data.split, kind, data.unit === "s" ? clock(data.end, "s", true) : "", ...data.facts].filter(Boolean).join(" · ");
    return make("p", {class: "about"}, ...data.auc === null ? [] : [make("b", {}, `AUC ${(100 * data.auc).toFixed(2)} %`), " · "], parts);
  }

  function present(element, data, buttons) {
    forget(element);
    const line = timeline(data);
    const usesTime = data.score || data.event || data.frames.at.length;
    element.replaceChildren(make("div", {class: "head"}, make("h3", {}, data.id), buttons), about(data),
      ...usesTime ? [line.node] : [], ...data.missing.map(sentence), ...[quote(data.text)].filter(Boolean), ...choices(data, line.seek));
    if (usesTime) line.start();
  }

  // Choosing a video
  let current = null;
  const visible = () => [...document.querySelectorAll("#list li:not([hidden]) a")];
  const nameOf = (link) => decodeURIComponent(link.getAttribute("href").slice("#video/".length));
  const find = (hash) => {
    if (!hash.startsWith("#video/")) return null;
    try {
      const wanted = decodeURIComponent(hash.slice("#video/".length));
      return links.find((link) => nameOf(link) === wanted) ?? null;
    } catch { return null; }
  };

  function mark(link) {
    links.forEach((other) => { other.tabIndex = other === link ? 0 : -1; other.removeAttribute("aria-current"); });
    link.setAttribute("aria-current", "true");
    link.tabIndex = 0;
    const list = document.getElementById("list"), box = link.getBoundingClientRect(), frame = list.getBoundingClientRect();
    if (box.top < frame.top || box.bottom > frame.bottom) list.scrollTop += box.top - frame.top - frame.height / 3;
  }
  function stepButtons() {
    const step = (by) => {
      const shown = visible(), next = shown[shown.indexOf(current) + by];
      if (next) location.hash = next.getAttribute("href");
    };
    const place = visible().indexOf(current);
    return make("div", {class: "step"},
      make("button", {type: "button", onclick: () => step(-1), disabled: place <= 0}, "Previous"),
      make("button", {type: "button", onclick: () => step(1), disabled: place >= visible().length - 1}, "Next"));
  }
  async function choose(link, go) {
    current = link;
    mark(link);
    let data = null, fault = "This page and its data files come from different reports: make the report again.";
    try {
      data = await load(Number(link.dataset.n));
    } catch (error) {
      fault = error.message;
    }
    if (current !== link) return;
    if (data?.id === nameOf(link)) {
      present(viewer, data, stepButtons());
    } else {
      forget(viewer);
      viewer.replaceChildren(make("div", {class: "head"}, make("h3", {}, nameOf(link)), stepButtons()), sentence(fault));
    }
    if (go) {
      viewer.scrollIntoView({block: "nearest"});
      const top = viewer.getBoundingClientRect().top;
      if (top < 60 || top > innerHeight / 2) document.getElementById("videos").scrollIntoView();
      if (!document.getElementById("list").contains(document.activeElement)) viewer.focus({preventScroll: true});
    }
  }
  addEventListener("hashchange", () => {
    const link = find(location.hash);
    if (link) choose(link, true);
    else if (!location.hash) choose(first, false);
  });

  // The list: filters, order, arrow keys
  const filters = document.getElementById("filters");
  const number = (link, key, empty) => link.dataset[key] === undefined ? empty : Number(link.dataset[key]);
  const orders = {
    best: (a, b) => number(b, "auc", -1) - number(a, "auc", -1), peak: (a, b) => number(b, "peak", -1) - number(a, "peak", -1),
    name: (a, b) => nameOf(a).localeCompare(nameOf(b), undefined, {numeric: true}), "": (a, b) => a.dataset.n - b.dataset.n,
  };
  function sift() {
    const {text, kind, order} = Object.fromEntries(new FormData(filters));
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const link of links) {
      const fits = (!kind || (kind.startsWith("/") ? link.dataset.labels.split("|").includes(kind.slice(1)) : link.dataset.split === kind))
        && (!words.length || words.every((word) => `${nameOf(link)} ${link.textContent}`.toLowerCase().includes(word)));
      link.parentElement.hidden = !fits;
      count += fits;
    }
    const list = document.getElementById("list");
    list.append(...[...links].sort(orders[order]).map((link) => link.parentElement));
    document.getElementById("found").textContent = count === links.length ? `${count} videos` : `${count} of ${links.length} videos`;
    const buttons = viewer.querySelector(".step");
    if (buttons) buttons.replaceWith(stepButtons());
    if (current?.parentElement.hidden && visible().length) visible()[0].tabIndex = 0;
  }
  filters.addEventListener("input", sift);
  document.querySelector("button[data-kind]")?.addEventListener("click", (event) => {
    filters.elements.kind.value = event.target.dataset.kind;
    sift();
    const shown = visible();
    if (shown[0]) location.hash = (shown.find((link) => link.dataset.labels !== "normal") ?? shown[0]).getAttribute("href");
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("list").addEventListener("keydown", (event) => {
    const shown = visible(), at = shown.indexOf(document.activeElement);
    const to = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1, PageDown: at + 8, PageUp: at - 8}[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    shown[clamp(to, 0, shown.length - 1)].focus();
  });

  const curves = document.getElementById("curves");
  if (curves) plotly.then(() => drawCurves(curves));
  const first = links.find((link) => link.dataset.n === viewer.dataset.first), asked = find(location.hash);
  choose(asked ?? first, Boolean(asked));
  const example = document.getElementById("example");
  if (example) {
    const fill = (n) => load(Number(n)).then((data) => present(example, data, null), (error) => example.replaceChildren(sentence(error.message)));
    const offer = [...document.querySelectorAll("#offer button")];
    for (const button of offer) button.addEventListener("click", () => {
      offer.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      fill(button.dataset.n);
    });
    const watch = new IntersectionObserver((seen) => {
      if (!seen.some((entry) => entry.isIntersecting)) return;
      watch.disconnect();
      fill(example.dataset.n);
    }, {rootMargin: "600px"});
    watch.observe(example);
  }
})();
