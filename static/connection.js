// Keeps a Session alive: opens one, and another when it is lost or the server was full, until told to close.

import { Problem } from "./problem.js";
import { NoMedia, Session, Unreachable } from "./session.js";

const BACK_OFF_FIRST_S = 0.5;
const BACK_OFF_MAX_S = 8;
const FULL_RETRY_S = 5; // when a 503 carries no Retry-After

// Decides what follows a failed attempt. `failures` counts those since the last live session, from 1.
// Returns {state, trouble, waitS}; waitS null means: do not try again.
export function nextStep(error, { wasLive, failures, random = Math.random() }) {
  const backOffS = Math.min(BACK_OFF_FIRST_S * 2 ** (failures - 1), BACK_OFF_MAX_S) * (0.8 + 0.4 * random);
  if (error instanceof Problem && error.status === 503) {
    return { state: "full", trouble: "full", waitS: Math.max(error.retryAfterS ?? FULL_RETRY_S, 1) };
  }
  if (error instanceof Unreachable) {
    return { state: "reconnecting", trouble: wasLive ? "lost" : "unreachable", waitS: backOffS };
  }
  const passing = error instanceof NoMedia || (error instanceof Problem && error.status >= 500);
  if (wasLive && passing) return { state: "reconnecting", trouble: "lost", waitS: backOffS };
  return { state: "error", trouble: error instanceof NoMedia ? "no-media" : "refused", waitS: null };
}

// Fires "change" (detail: {state, trouble, error, retryAt, attempt}) on every change of state;
// retryAt is in performance.now() milliseconds.
// States: idle, connecting, live, reconnecting, full, error.
export class Connection extends EventTarget {
  state = "idle";
  session = null;

  #run = null;
  #track = null;
  #wake = () => {};

  constructor() {
    super();
    addEventListener("online", () => this.retry());
  }

  open(track, avatar) {
    this.#stop();
    this.#track = track;
    this.#run = new AbortController();
    this.#keep(avatar, this.#run.signal);
  }

  close() {
    this.#stop();
    this.#change("idle");
  }

  // Ends the pause before the next attempt, if there is one.
  retry() {
    this.#wake();
  }

  // The new track serves the running session and every later one.
  async replaceTrack(track) {
    this.#track = track;
    await this.session?.replaceTrack(track);
  }

  async #keep(avatar, signal) {
    let wasLive = false;
    let failures = 0;
    this.#change("connecting");
    while (!signal.aborted) {
      try {
        const track = this.#track;
        const session = await Session.open(track, avatar, signal);
        if (track !== this.#track) await session.replaceTrack(this.#track);
        this.session = session;
        wasLive = true;
        failures = 0;
        this.#change("live");
        await Promise.race([session.lost, aborted(signal)]);
        this.session = null;
        session.close();
        if (signal.aborted) return;
        this.#change("reconnecting", { trouble: "lost" });
      } catch (error) {
        if (signal.aborted) return;
        failures += 1;
        const step = nextStep(error, { wasLive, failures });
        const retryAt = step.waitS === null ? null : performance.now() + step.waitS * 1000;
        this.#change(step.state, { trouble: step.trouble, error, retryAt, attempt: failures });
        if (retryAt === null) return;
        await this.#pause(step.waitS * 1000, signal);
      }
    }
  }

  #pause(ms, signal) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      signal.addEventListener("abort", this.#wake, { once: true });
    });
  }

  #stop() {
    this.#run?.abort();
    this.#run = null;
    this.session?.close();
    this.session = null;
  }

  #change(state, detail = {}) {
    this.state = state;
    this.dispatchEvent(new CustomEvent("change", { detail: { state, ...detail } }));
  }
}

function aborted(signal) {
  return new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}
