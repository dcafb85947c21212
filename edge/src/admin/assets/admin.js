// What a plain page can't do: follow a run, look again, copy, count the age. Every page works without it.
"use strict";

// Makes `old` like `fresh` and touches nothing that is the same already: what is focused, selected or unfolded stays so.
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  const kept = (name) => name === "open" && old.nodeName === "DETAILS";
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !kept(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    // An element with an id is the one it was, wherever it stands now.
    const same = child.id && [...old.children].find((one) => one.id === child.id);
    if (same && same !== place) old.insertBefore(same, place);
    else if (!same && (!place || child.id || place.id)) {
      old.insertBefore(child, place);
      continue;
    }
    const target = same || place;
    place = target.nextSibling;
    morph(target, child);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

// Puts each element in the place of the one with its id, or at the end of the list.
function put(html, list) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const bottom = window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 120;
  for (const element of [...template.content.children]) {
    const old = document.getElementById(element.id);
    if (old) morph(old, element);
    else {
      element.classList.add("fresh");
      list.append(element);
    }
  }
  if (bottom && document.hasFocus()) window.scrollTo({ top: document.documentElement.scrollHeight });
}

function follow(list) {
  const source = new EventSource(list.dataset.live);
  source.onmessage = (message) => put(message.data, list);
  source.addEventListener("end", () => source.close());
}

// Looks again every while, and only while somebody sees it.
function refresh(part) {
  const every = Number(part.dataset.refresh);
  const again = async () => {
    if (!document.hidden && !part.contains(document.activeElement?.closest("form"))) {
      try {
        const answer = await fetch(location.href, { headers: { accept: "text/html" } });
        if (answer.redirected) return location.reload();
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = answer.ok && page.getElementById(part.id);
        if (fresh) morph(part, fresh);
      } catch {
        // The edge is away; the next look may find it.
      }
    }
    setTimeout(again, every);
  };
  setTimeout(again, every);
}

// The same steps as the edge takes.
function ago(seconds) {
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

function age() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const text = ago(Math.max(0, Math.floor((Date.now() - Number(time.dataset.ago)) / 1000)));
    if (time.textContent !== text) time.textContent = text;
  }
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  const text = source.value ?? source.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Without https there is no clipboard to write to: select it, so that one key does.
    if (source.select) source.select();
    else getSelection().selectAllChildren(source);
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

document.querySelectorAll("[data-live]").forEach(follow);
document.querySelectorAll("[data-refresh]").forEach(refresh);
document.querySelectorAll("form[data-submit]").forEach((form) => form.requestSubmit());
document.addEventListener("change", (event) => event.target.closest("form[data-autosubmit]")?.requestSubmit());
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});
setInterval(age, 5000);
