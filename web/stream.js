// GET /live, read by fetch, because EventSource cannot send the token. Connects again by itself, ever more slowly,
// and tells what is going on; stands still while nobody sees the page or the reader has paused it.

import {count} from "./format.js";

const WAIT_FIRST_S = 1;
const WAIT_MOST_S = 30;
const SILENCE_MS = 10000; // ten events that did not come: the daemon hangs, or the line is dead
const TOKEN = "inline-token";

function readToken() {
  try {
    return sessionStorage.getItem(TOKEN) || "";
  } catch {
    return "";
  }
}

// The token goes with every request; it is kept until the tab is closed.
let token = readToken();

export function setToken(value) {
  token = value;
  try {
    sessionStorage.setItem(TOKEN, value);
  } catch {
    /* then it is asked for again */
  }
}

export function ask(path, options = {}) {
  const headers = token ? {Authorization: `Bearer ${token}`} : {};
  return fetch(path, {...options, headers, cache: "no-store", credentials: "omit"});
}

// What the daemon says of a refusal, in its own words.
export async function refusal(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `the daemon answered ${answer.status}`;
  }
}

// Calls handle(event, data) for each event of a body, until it ends.
async function readEvents(body, handle) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    text += value;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const lines = text.slice(0, end).split("\n");
      const name = lines.find((line) => line.startsWith("event: "));
      const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      text = text.slice(end + 2);
      handle(name ? name.slice(7) : "message", JSON.parse(data.join("\n")));
    }
  }
}

export class Stream {
  // onEvent(name, data); onState(state, text): "connecting", "live", "lost", "paused", "token".
  constructor({onEvent, onState}) {
    this.onEvent = onEvent;
    this.onState = onState;
    this.window = "15m";
    this.isPaused = false;
    this.wait_s = WAIT_FIRST_S;
    document.addEventListener("visibilitychange", () => this.restart());
    window.addEventListener("online", () => this.restart());
  }

  setWindow(name) {
    this.window = name;
    this.restart();
  }

  setPaused(isPaused) {
    this.isPaused = isPaused;
    this.restart();
  }

  // At once, whatever was under way.
  restart() {
    clearTimeout(this.timer);
    this.controller?.abort();
    this.controller = null;
    if (this.isPaused || document.hidden) {
      this.onState("paused", this.isPaused ? "Paused" : "Paused while hidden");
      return;
    }
    this.connect();
  }

  async connect() {
    const controller = new AbortController();
    this.controller = controller;
    this.onState("connecting", "Connecting");
    try {
      await this.read(controller);
      this.retry(controller, "The daemon has ended");
    } catch {
      this.retry(controller, "Connection lost");
    }
    clearTimeout(this.silence);
  }

  async read(controller) {
    const answer = await ask(`/live?window=${this.window}`, {signal: controller.signal});
    if (answer.status === 401) {
      this.controller = null;
      this.onState("token", token ? "The token is not the daemon's" : "The daemon asks for its token");
      return;
    }
    if (!answer.ok) {
      this.retry(controller, await refusal(answer));
      return;
    }
    await readEvents(answer.body, (name, data) => {
      if (this.controller !== controller) return;
      clearTimeout(this.silence);
      this.silence = setTimeout(() => controller.abort(), SILENCE_MS);
      this.wait_s = WAIT_FIRST_S;
      this.onState("live", "Live");
      this.onEvent(name, data);
    });
  }

  retry(controller, why) {
    if (this.controller !== controller) return; // another one was begun, or it waits already
    this.controller = null;
    this.onState("lost", `${why}. Trying again in ${count(this.wait_s)} s`);
    this.timer = setTimeout(() => this.connect(), this.wait_s * 1000);
    this.wait_s = Math.min(2 * this.wait_s, WAIT_MOST_S);
  }
}
