// The panel of live figures: measures a session once a second and shows the numbers.

import { Figures } from "./figures.js";

const MEASURE_EVERY_MS = 1000;
const ASK_SERVER_EVERY = 3; // measurements
const SHARES = ["packetMs", "roundTripMs", "playoutDelayMs", "audioBufferMs"];

export class Panel {
  latest = null; // what Figures.push returned last, or null outside a session

  #root;
  #timer = 0;
  #session = null;

  constructor(root) {
    this.#root = root;
  }

  follow(session) {
    this.stop();
    this.#session = session;
    const figures = new Figures();
    let server = null;
    let measurements = 0;
    const measure = async () => {
      if (measurements++ % ASK_SERVER_EVERY === 0) server = (await statsOf(session.url)) ?? server;
      const report = await session.peer.getStats();
      if (session === this.#session) this.#show(figures.push(report, server, performance.now()));
    };
    this.#timer = setInterval(measure, MEASURE_EVERY_MS);
    measure();
  }

  stop() {
    clearInterval(this.#timer);
    this.#session = null;
    this.#show(null);
  }

  #show(numbers) {
    this.latest = numbers;
    for (const node of this.#root.querySelectorAll("[data-figure]")) {
      node.textContent = written(node.dataset.figure, numbers?.[node.dataset.figure]);
    }
    for (const name of SHARES) {
      this.#root.querySelector(`.bar [data-part=${name}]`).style.flexGrow = numbers?.[name] ?? 0;
    }
    const { fps, latencyMs } = numbers ?? {};
    this.#root.querySelector(".brief").textContent = fps
      ? `${written("fps", fps)} fps · ${written("latencyMs", latencyMs)} ms`
      : "";
  }
}

async function statsOf(url) {
  try {
    const response = await fetch(url);
    return response.ok ? await response.json() : null;
  } catch {
    return null; // the connection itself notices when the server is gone
  }
}

function written(name, number) {
  if (number === null || number === undefined) return "–";
  if (name === "fps" || name === "lossPercent") return number.toFixed(1);
  const whole = Math.round(number);
  if (name === "skewMs") return whole > 0 ? `+${whole}` : String(whole).replace("-", "−");
  return whole.toLocaleString("en");
}
