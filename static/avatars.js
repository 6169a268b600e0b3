// The avatars the server offers, as cards to choose from.

import { Problem } from "./problem.js";

// Resolves with the list of GET /avatars, the default first. Rejects with Problem, or TypeError without a network.
export async function fetchAvatars() {
  const response = await fetch("/avatars");
  if (!response.ok) throw await Problem.from(response);
  const { avatars } = await response.json();
  return avatars.sort((a, b) => Number(b.default) - Number(a.default));
}

export function avatarCard(avatar, checked) {
  const label = document.createElement("label");
  label.className = "card";
  const input = document.createElement("input");
  Object.assign(input, { type: "radio", name: "avatar", value: avatar.name, checked });
  const picture = document.createElement("img");
  Object.assign(picture, { src: avatar.poster_url, alt: "", width: 64, height: 64 });
  const words = document.createElement("span");
  const title = document.createElement("strong");
  title.textContent = avatar.title;
  const description = document.createElement("span");
  description.className = "card-text";
  description.textContent = avatar.description;
  words.append(title, description);
  label.append(input, picture, words);
  return label;
}
