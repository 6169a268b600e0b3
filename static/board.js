// The place for one notice at a time: words, buttons, and the seconds until the next attempt.

import { notice } from "./notices.js";

const TICK_MS = 250;

export class Board {
  trouble = null; // name of the notice on show

  #root;
  #actions;
  #timer = 0;

  // actions: {name: [label, function]}, for the names that notices.js uses.
  constructor(root, actions) {
    this.#root = root;
    this.#actions = actions;
  }

  // retryAt: performance.now() milliseconds, or null. Returns the words, for those who listen.
  show(trouble, facts, retryAt = null) {
    const { title, text, actions } = notice(trouble, facts);
    this.trouble = trouble;
    this.#part("title").textContent = title;
    this.#part("words").textContent = text;
    this.#part("actions").replaceChildren(...actions.map((name) => this.#button(name)));
    this.#root.hidden = false;
    document.body.dataset.notice = trouble;
    this.countDown(retryAt);
    return `${title}. ${text}`;
  }

  countDown(retryAt) {
    clearInterval(this.#timer);
    const tick = () => {
      const seconds = Math.ceil((retryAt - performance.now()) / 1000);
      this.#part("countdown").textContent =
        retryAt === null ? "" : seconds > 0 ? `Trying again in ${seconds} s.` : "Trying now.";
    };
    tick();
    if (retryAt !== null) this.#timer = setInterval(tick, TICK_MS);
  }

  // Returns true when the focus was on the notice and needs a new place.
  hide() {
    clearInterval(this.#timer);
    const focused = this.#root.contains(document.activeElement);
    this.trouble = null;
    this.#root.hidden = true;
    delete document.body.dataset.notice;
    return focused;
  }

  #part(name) {
    return this.#root.querySelector(`.notice-${name}`);
  }

  #button(name) {
    const [label, act] = this.#actions[name];
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "notice-action", textContent: label, onclick: () => act() });
    return button;
  }
}
