// One session: one RTCPeerConnection here, one session URL at the server, and their common end.

import { Problem } from "./problem.js";

const GATHERING_LIMIT_MS = 300; // the server does not trickle; host candidates come at once
const ANSWER_LIMIT_MS = 10_000;
const MEDIA_LIMIT_MS = 10_000;
const LISTEN_EVERY_MS = 1_000;
const SILENT_LIMIT = 3; // times in a row that nothing new had come

export class Unreachable extends Error {}
export class NoMedia extends Error {}

export class Session {
  stream = new MediaStream(); // both remote tracks: one stream in one element is what keeps them in sync
  peer = new RTCPeerConnection({ iceServers: [], bundlePolicy: "max-bundle" });
  url = null;
  id = null;

  #sender;
  #closed = false;
  #connected = deferred();
  #lost = deferred();
  #listening = 0;

  // Resolves when media can flow. Rejects with Problem, Unreachable, NoMedia or the signal's reason.
  static async open(track, avatar, signal) {
    const session = new Session(track);
    const abort = () => session.close();
    signal.addEventListener("abort", abort, { once: true });
    try {
      await session.#negotiate(avatar);
      signal.throwIfAborted();
      return session;
    } catch (error) {
      session.close();
      throw signal.aborted ? signal.reason : error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  constructor(track) {
    this.#connected.promise.catch(() => {});
    this.#sender = this.peer.addTransceiver(track, { direction: "sendrecv" }).sender;
    this.peer.addTransceiver("video", { direction: "recvonly" });
    this.peer.addEventListener("track", (event) => this.#receive(event));
    this.peer.addEventListener("connectionstatechange", () => this.#follow());
    this.#watch(this.peer.createDataChannel("control"));
  }

  // Resolves when the session has ended without close() having been called.
  get lost() {
    return this.#lost.promise;
  }

  replaceTrack(track) {
    return this.#sender.replaceTrack(track);
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#listening);
    this.#connected.reject(new NoMedia("closed"));
    this.peer.close();
    this.#delete();
  }

  async #negotiate(avatar) {
    await this.peer.setLocalDescription();
    await this.#gathered();
    const { sdp, type } = this.peer.localDescription;
    const answer = await this.#offer({ sdp, type, ...(avatar && { avatar }) });
    this.url = answer.session_url;
    this.id = answer.session_id;
    if (this.#closed) {
      // Ended while the server was still answering: it must hear of it all the same.
      this.#delete();
      return;
    }
    await this.peer.setRemoteDescription({ type: answer.type, sdp: answer.sdp });
    const timer = setTimeout(() => this.#connected.reject(new NoMedia("no media in time")), MEDIA_LIMIT_MS);
    try {
      await this.#connected.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  #gathered() {
    if (this.peer.iceGatheringState === "complete") return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, GATHERING_LIMIT_MS);
      this.peer.addEventListener("icegatheringstatechange", () => {
        if (this.peer.iceGatheringState !== "complete") return;
        clearTimeout(timer);
        resolve();
      });
    });
  }

  async #offer(description) {
    let response;
    try {
      response = await fetch("/offer", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(description),
        signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
      });
      if (response.ok) return await response.json();
    } catch (error) {
      throw new Unreachable("the server does not answer", { cause: error });
    }
    throw await Problem.from(response);
  }

  #receive({ track, receiver }) {
    // The server paces both tracks by one clock, so the browser need not hold frames back for safety.
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
    else if ("playoutDelayHint" in receiver) receiver.playoutDelayHint = 0;
    this.stream.addTrack(track);
  }

  #follow() {
    const state = this.peer.connectionState;
    if (state === "connected") this.#listen();
    else if (state === "failed" || state === "closed") this.#end();
  }

  // The server sends without a pause, so silence means that it, or the way to it, is gone. ICE would
  // say so several seconds later.
  #listen() {
    this.#connected.resolve();
    clearInterval(this.#listening);
    let heard = 0;
    let silent = 0;
    this.#listening = setInterval(async () => {
      let received = 0;
      for (const stats of (await this.peer.getStats()).values()) {
        if (stats.type === "inbound-rtp") received += stats.packetsReceived;
      }
      silent = received === heard ? silent + 1 : 0;
      heard = received;
      if (silent === SILENT_LIMIT) this.#end();
    }, LISTEN_EVERY_MS);
  }

  // A server that ends a session closes the channel, which is heard at once.
  #watch(channel) {
    channel.addEventListener("open", () => {
      channel.addEventListener("close", () => this.#end());
    });
  }

  #end() {
    this.#connected.reject(new NoMedia("the connection failed"));
    if (!this.#closed) this.#lost.resolve();
  }

  // keepalive lets the request outlive the page. Failing is fine: the server drops silent peers anyway.
  #delete() {
    if (this.url) fetch(this.url, { method: "DELETE", keepalive: true }).catch(() => {});
  }
}

function deferred() {
  const deferred = {};
  deferred.promise = new Promise((resolve, reject) => Object.assign(deferred, { resolve, reject }));
  return deferred;
}
