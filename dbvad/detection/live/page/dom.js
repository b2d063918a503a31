// What the other files share: finding elements, and times in words.

export const $ = id => document.getElementById(id);
export const clone = id => $(id).content.firstElementChild.cloneNode(true);
export const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A time of day, with the date where it is not today's. */
export function clock(wall) {
  const at = new Date(wall), today = at.toDateString() === new Date().toDateString();
  return at.toLocaleString([], today ? {timeStyle: "medium"} : {dateStyle: "short", timeStyle: "medium"});
}

export function span(seconds) {
  return seconds < 90 ? `${Math.max(0, Math.round(seconds))} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` :
    seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}
