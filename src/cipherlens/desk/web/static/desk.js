"use strict";
// Photos are sent one after the other, so that a broken one stops nobody, and the page stays quick.
(() => {
  const zone = document.getElementById("drop");
  const input = document.getElementById("files");
  const bar = document.getElementById("upload");
  const told = document.getElementById("upload-told");
  const most = Number(zone.dataset.most);
  const queue = [];
  let sent = 0, failed = 0, all = 0, busy = false;

  function tell(words) { told.textContent = words; }

  function add(files) {
    const photos = [...files];
    if (!photos.length) return;
    const room = Math.max(0, most - Number(document.getElementById("board").dataset.photos || 0) - queue.length);
    const kept = photos.slice(0, room);
    queue.push(...kept);
    all += kept.length;
    if (photos.length > kept.length) {
      note(`${photos.length - kept.length} of ${photos.length} photos were left out: the desk shows ${most}. ` +
           "Seal the whole folder further below; that has no limit.");
    }
    work();
  }

  function note(words) {
    const line = document.createElement("li");
    line.textContent = words;
    document.getElementById("notes").prepend(line);
  }

  async function work() {
    if (busy) return;
    busy = true;
    bar.hidden = false;
    while (queue.length) {
      const file = queue.shift();
      bar.max = all;
      bar.value = sent + failed;
      tell(`${sent + failed} of ${all} photos`);
      let content;
      try {
        content = await file.arrayBuffer();
      } catch (error) {
        failed += 1;
        note(`${file.name} cannot be read: is it a folder, or gone? A folder is sealed further below.`);
        continue;
      }
      try {
        const name = encodeURIComponent((file.name || "photo").toWellFormed?.() ?? "photo");
        const answer = await fetch("/photos", { method: "POST", body: content, headers: { "X-Name": name } });
        if (answer.ok) { sent += 1; } else {
          failed += 1;
          note(`${file.name}: ${await answer.text()}`);
          if (answer.status === 409) { failed += queue.length; queue.length = 0; }
        }
      } catch (error) {
        failed += 1;
        note(`${file.name}: the desk does not answer. Does it still run?`);
      }
    }
    bar.hidden = true;
    tell(failed ? `${sent} photos sealed and sent, ${failed} not.` : `${sent} photos sealed and sent.`);
    sent = failed = all = 0;
    busy = false;
  }

  input.addEventListener("change", () => { add(input.files); input.value = ""; });
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) zone.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    add([...event.dataTransfer.files]);
  });
  // What the server refuses is shown, not thrown away.
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr.status === 422) { event.detail.shouldSwap = true; event.detail.isError = false; }
  });
  document.body.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.pathInfo.requestPath === "/clear") queue.length = 0;
  });
  let gone = false;
  for (const name of ["htmx:sendError", "htmx:responseError"]) {
    document.body.addEventListener(name, () => {
      if (!gone) note("The desk does not answer. Has it ended? Start it again: cipherlens desk");
      gone = true;
    });
  }
  document.body.addEventListener("input", (event) => {
    const shown = document.getElementById(`${event.target.id}-shown`);
    if (shown) shown.textContent = event.target.value;
  });
})();
