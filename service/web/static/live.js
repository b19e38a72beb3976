// Keeps the page fresh: fetches it again, and changes only what differs, so that focus, selection and
// scroll positions stay. Without this script the page is complete, and a reload does the same.
(function () {
  "use strict";
  var PERIOD = 10000;
  var STALE = 45000;
  var clock = document.getElementById("clock");
  var live = document.querySelector("[data-live]");
  if (!clock || !live || !window.fetch || !window.DOMParser) { return; }

  var KEY = "cryopack.paused";
  var paused = sessionStorage.getItem(KEY) === "1";
  var last = Date.now();
  var failed = false;
  var busy = false;

  var text = document.createElement("span");
  var button = document.createElement("button");
  button.type = "button";
  clock.replaceChildren(text, document.createTextNode(" "), button);

  function show() {
    var seconds = Math.round((Date.now() - last) / 1000);
    var stale = failed || Date.now() - last > STALE;
    clock.classList.toggle("stale", stale && !paused);
    button.textContent = paused ? "Resume" : "Pause";
    button.setAttribute("aria-label", paused ? "Resume live updates" : "Pause live updates");
    var since = seconds < 2 ? "just now" : seconds < 120 ? seconds + " s ago" : Math.round(seconds / 60) + " min ago";
    text.textContent = paused ? "Paused, updated " + since
      : stale ? "Stale: last update " + since : "Live, updated " + since;
  }

  function firstClass(node) {
    return node.classList && node.classList.length ? node.classList[0] : "";
  }

  // The first class says what a thing is; further ones say how it is.
  function sameKind(a, b) {
    return a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "") &&
      firstClass(a) === firstClass(b);
  }

  function isBlank(node) {
    return node.nodeType === Node.TEXT_NODE && !node.nodeValue.trim();
  }

  function parts(node) {
    return Array.from(node.childNodes).filter(function (child) { return !isBlank(child); });
  }

  function morphChildren(old, fresh) {
    var mine = parts(old);
    var at = 0;
    parts(fresh).forEach(function (child) {
      var found = at;
      if (child.nodeType === Node.ELEMENT_NODE) {
        while (found < mine.length && !sameKind(mine[found], child)) { found += 1; }
      } else if (found < mine.length && !sameKind(mine[found], child)) {
        found = mine.length;
      }
      if (found < mine.length) {
        mine.slice(at, found).forEach(function (gone) { old.removeChild(gone); });
        morph(mine[found], child);
        at = found + 1;
        return;
      }
      var before = mine[at] || null;
      if (child.previousSibling && isBlank(child.previousSibling)) {
        old.insertBefore(document.createTextNode(" "), before);
      }
      old.insertBefore(document.importNode(child, true), before);
    });
    mine.slice(at).forEach(function (gone) { old.removeChild(gone); });
  }

  function morph(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) { old.nodeValue = fresh.nodeValue; }
      return;
    }
    // What the reader has opened, typed or chosen is the reader's.
    var keep = { DETAILS: "open", INPUT: "value", OPTION: "selected", SELECT: "value" }[old.nodeName];
    Array.from(fresh.attributes).forEach(function (a) {
      if (a.name !== keep && old.getAttribute(a.name) !== a.value) { old.setAttribute(a.name, a.value); }
    });
    Array.from(old.attributes).forEach(function (a) {
      if (a.name !== keep && !fresh.hasAttribute(a.name)) { old.removeAttribute(a.name); }
    });
    morphChildren(old, fresh);
  }

  function refresh() {
    if (paused || busy || document.hidden) { return; }
    busy = true;
    var abort = new AbortController();
    var timer = setTimeout(function () { abort.abort(); }, PERIOD);
    fetch(location.href, { signal: abort.signal, cache: "no-store", credentials: "same-origin" })
      .then(function (answer) {
        if (!answer.ok) { throw new Error(String(answer.status)); }
        return answer.text();
      })
      .then(function (html) {
        var fresh = new DOMParser().parseFromString(html, "text/html").querySelector("[data-live]");
        if (!fresh) { throw new Error("no content"); }
        if (!paused) { morph(live, fresh); last = Date.now(); failed = false; }
      })
      .catch(function () { failed = true; })
      .finally(function () { clearTimeout(timer); busy = false; show(); });
  }

  button.addEventListener("click", function () {
    paused = !paused;
    sessionStorage.setItem(KEY, paused ? "1" : "0");
    show();
    refresh();
  });
  document.addEventListener("visibilitychange", function () { if (!document.hidden) { show(); refresh(); } });
  setInterval(refresh, PERIOD);
  setInterval(show, 1000);
  show();
})();
