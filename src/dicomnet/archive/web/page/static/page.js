"use strict";
// The pages work without this script, but for the viewer and for adding objects.

const byId = (id) => document.getElementById(id);

/* The search: as one types, and further studies as one scrolls. */

function beginSearch(form) {
  const rows = byId("rows");
  const end = byId("end");
  const said = byId("said");
  let asked = 0;
  let timer = 0;

  async function fetchPart(address) {
    const url = new URL(address, location.href);
    url.searchParams.set("part", "rows");
    const response = await fetch(url, { credentials: "same-origin" });
    if (response.status === 401) {
      // The session has ended: the page itself leads to the form where one logs in, and back to this search.
      location.assign(address);
      throw new Error("You are not logged in any more.");
    }
    const part = new DOMParser().parseFromString(await response.text(), "text/html");
    if (!response.ok) {
      throw new Error(part.querySelector(".problem")?.textContent ?? "The search did not work.");
    }
    return part;
  }

  function take(part) {
    end.replaceChildren(...part.getElementById("end").childNodes);
    said.textContent = part.getElementById("said").textContent;
    said.classList.remove("problem");
    watch();
  }

  async function search() {
    const number = ++asked;
    const fields = [...new FormData(form)].filter(([, value]) => value);
    const address = "/" + (fields.length ? "?" + new URLSearchParams(fields) : "");
    try {
      const part = await fetchPart(address);
      // An earlier answer may come later.
      if (number !== asked) return;
      rows.replaceChildren(...part.getElementById("rows").childNodes);
      take(part);
      history.replaceState(null, "", address);
    } catch (error) {
      if (number !== asked) return;
      // What was found before is no answer to this search.
      rows.replaceChildren();
      end.replaceChildren();
      said.textContent = error.message;
      said.classList.add("problem");
    }
  }

  async function more(link) {
    const number = asked;
    try {
      const part = await fetchPart(link.href);
      if (number !== asked || link !== byId("more")) return;
      rows.append(...part.getElementById("rows").childNodes);
      take(part);
      said.textContent = `${rows.children.length} studies shown` + (byId("more") ? ", and there are more." : ".");
    } catch {
      // The link stays, to be followed by hand.
      isNear.disconnect();
    }
  }

  const isNear = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      isNear.disconnect();
      more(byId("more"));
    }
  }, { rootMargin: "600px" });

  function watch() {
    isNear.disconnect();
    const link = byId("more");
    if (link) isNear.observe(link);
  }

  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, 150);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    search();
  });
  watch();
}

/* The viewer: one picture is asked for at a time, and what is written over it belongs to the picture that is shown. */

const KEPT = 120;

function beginViewer(viewer) {
  const stage = byId("stage");
  let image = byId("image");
  const slider = byId("slider");
  const presets = byId("window");
  const pace = byId("pace");
  const said = viewer.dataset;
  const frames = [];
  for (const row of document.querySelectorAll("#instances tr")) {
    const { address, number, frames: count, columns } = row.dataset;
    for (let frame = 1; columns && frame <= Number(count || 1); frame++) {
      frames.push({ address, number, frame, count: Number(count || 1) });
    }
  }
  if (!frames.length) return;
  viewer.hidden = false;

  const patient = [said.name, `ID ${said.id || "none"}, born ${said.born || "unknown"}`];
  const pictures = new Map();
  const view = { at: 0, window: null, zoom: 1, x: 0, y: 0 };
  let isBusy = false;
  let timer = 0;
  let direction = 1;

  const key = (wanted) => `${wanted.frame.address} ${wanted.frame.frame} ${wanted.window ?? ""}`;
  const snapshot = (at = view.at) => ({ at, frame: frames[at], window: view.window && inWords(view.window) });

  // As many digits as make a difference to what is seen.
  function inWords({ center, width, name }) {
    const digits = Math.max(0, Math.min(12, 2 - Math.floor(Math.log10(width))));
    return [center, width].map((value) => Number(value.toFixed(digits))).concat(name).join(",");
  }

  // What the archive says of a picture: the window that it has, and where that is from; colors have none.
  function windowOf(text) {
    const found = /^([^,;]+),([^,;]+),([a-z-]+); of=([a-z]+)$/.exec(text ?? "");
    return found && { center: Number(found[1]), width: Number(found[2]), name: found[3], of: found[4] };
  }

  // Whose a picture is. Where objects of the study contradict each other, each is asked by itself.
  async function patientOf(frame) {
    if (!said.mixed) return patient;
    const response = await fetch(`${frame.address}/metadata`, {
      headers: { Accept: "application/dicom+json" }, credentials: "same-origin", signal: AbortSignal.timeout(30000),
    });
    if (!response.ok) throw new Error("it is not known whose it is");
    const [data] = await response.json();
    const value = (tag) => data[tag]?.Value?.[0];
    const name = Object.values(value("00100010") ?? {}).filter(Boolean).join(" = ").replaceAll("^", " ").trim();
    const born = String(value("00100030") ?? "").replace(/^(\d{4})(\d\d)(\d\d)$/, "$1-$2-$3");
    return [name || "no name", `ID ${value("00100020") ?? "none"}, born ${born || "unknown"}`];
  }

  async function load(wanted) {
    const known = pictures.get(key(wanted));
    if (known) {
      pictures.delete(key(wanted));
      pictures.set(key(wanted), known);
      return known;
    }
    const query = wanted.window ? `?window=${wanted.window}` : "";
    const response = await fetch(`${wanted.frame.address}/frames/${wanted.frame.frame}/rendered${query}`, {
      headers: { Accept: "image/jpeg, image/png" },
      credentials: "same-origin",
      signal: AbortSignal.timeout(30000),
    });
    if (!response.ok) throw new Error((await response.text()).trim() || `status ${response.status}`);
    const made = new Image();
    made.draggable = false;
    made.patient = await patientOf(wanted.frame);
    made.shown = windowOf(response.headers.get("dicomnet-window"));
    made.id = "image";
    made.src = URL.createObjectURL(await response.blob());
    try {
      await made.decode();
    } finally {
      URL.revokeObjectURL(made.src);
    }
    pictures.set(key(wanted), made);
    if (pictures.size > KEPT) pictures.delete(pictures.keys().next().value);
    return made;
  }

  async function show() {
    slider.value = view.at + 1;
    if (isBusy) return;
    isBusy = true;
    try {
      for (;;) {
        const wanted = snapshot();
        let made = null;
        let problem = "";
        try {
          made = await load(wanted);
        } catch (error) {
          // No other picture may stand there for the one that is wanted.
          made = new Image();
          made.id = "image";
          made.patient = said.mixed ? ["an image of one of the patients"] : patient;
          problem = error.message;
        }
        // The picture and what is written over it change together, so that no one sees one with the words of another.
        image.replaceWith(made);
        image = made;
        label(wanted, made, problem);
        place();
        if (key(snapshot()) === key(wanted)) break;
      }
    } finally {
      isBusy = false;
    }
    const next = view.at + direction;
    if (frames[next] && !timer) load(snapshot(next)).catch(() => {});
  }

  function windowInWords(wanted, shown) {
    if (!shown) return "";
    const short = (value) => String(Number(value.toPrecision(4)));
    const { center, width, name } = shown;
    const text = `${short(center)} / ${short(width)}` + (name === "linear" ? "" : `, ${name}`);
    if (wanted.window) return `window ${text}`;
    if (shown.of === "image") return `window of the image ${text}`;
    if (shown.of === "table") return "table of the image";
    // Each image of a series has a range of its own then.
    return `no window in the image: its values, ${short(center - width / 2)} to ${short(center + width / 2)}`;
  }

  function label(wanted, { shown, patient: whose }, problem) {
    const { frame, at } = wanted;
    byId("whose").textContent = [...whose, said.study.trim(), said.series].filter(Boolean).join("\n");
    byId("where").textContent = [
      `${at + 1} of ${frames.length}`,
      `image ${frame.number || "without number"}` + (frame.count > 1 ? `, frame ${frame.frame} of ${frame.count}` : ""),
      windowInWords(wanted, shown),
    ].filter(Boolean).join("\n");
    byId("problem").textContent = problem ? `There is no picture of it: ${problem}` : "";
    stage.dataset.shown = `${frame.address}/frames/${frame.frame}`;
    stage.dataset.window = wanted.window ?? "";
    image.alt = problem ? "" : `${said.series}, image ${frame.number}, frame ${frame.frame}, of ${whose[0]}`;
  }

  function place() {
    const fit = Math.min(stage.clientWidth / (image.naturalWidth || 1), stage.clientHeight / (image.naturalHeight || 1));
    image.style.transform = `scale(${fit * view.zoom}) translate(-50%, -50%)`;
    image.style.marginLeft = `${view.x}px`;
    image.style.marginTop = `${view.y}px`;
  }

  function go(to, step = 0) {
    const at = Math.max(0, Math.min(frames.length - 1, to));
    direction = step || Math.sign(at - view.at) || direction;
    if (at !== view.at) {
      view.at = at;
      show();
    }
  }

  function zoom(factor) {
    view.zoom = Math.max(0.2, Math.min(20, view.zoom * factor));
    place();
  }

  function move(x, y) {
    view.x += x;
    view.y += y;
    place();
  }

  // A change begins with what is seen.
  function changeWindow(change) {
    const from = view.window ?? image.shown;
    if (!from) return;
    const [center, width] = change(from.center, from.width);
    view.window = { center, width: Math.max(from.name === "linear" ? 1 : 1e-9, width), name: from.name };
    presets.value = "";
    show();
  }

  function reset() {
    Object.assign(view, { window: null, zoom: 1, x: 0, y: 0 });
    presets.value = "";
    show();
    place();
  }

  function play() {
    const button = viewer.querySelector('[data-do="play"]');
    if (timer) {
      clearInterval(timer);
      timer = 0;
    } else {
      // A frame that takes longer is waited for, so that none is left out.
      timer = setInterval(() => {
        if (!isBusy) {
          direction = 1;
          view.at = (view.at + 1) % frames.length;
          show();
        }
      }, 1000 / Math.max(1, Math.min(60, Number(pace.value) || 15)));
    }
    button.setAttribute("aria-pressed", String(Boolean(timer)));
    button.textContent = timer ? "Stop" : "Play";
  }

  const actions = {
    previous: () => go(view.at - 1),
    next: () => go(view.at + 1),
    in: () => zoom(1.25),
    out: () => zoom(0.8),
    play,
    reset,
  };
  const keys = {
    ArrowUp: () => go(view.at - 1), ArrowDown: () => go(view.at + 1),
    ArrowLeft: () => go(view.at - 1), ArrowRight: () => go(view.at + 1),
    PageUp: () => go(view.at - 10), PageDown: () => go(view.at + 10),
    Home: () => go(0), End: () => go(frames.length - 1),
    "+": () => zoom(1.25), "-": () => zoom(0.8), r: reset, " ": play,
  };
  const shifted = {
    ArrowUp: () => changeWindow((center, width) => [center - width / 20, width]),
    ArrowDown: () => changeWindow((center, width) => [center + width / 20, width]),
    ArrowLeft: () => changeWindow((center, width) => [center, width * 0.9]),
    ArrowRight: () => changeWindow((center, width) => [center, width * 1.1]),
  };

  viewer.addEventListener("click", (event) => actions[event.target.dataset?.do]?.());
  stage.addEventListener("keydown", (event) => {
    const action = event.ctrlKey || event.altKey || event.metaKey ? null : (event.shiftKey && shifted[event.key]) || keys[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (event.ctrlKey) zoom(event.deltaY < 0 ? 1.1 : 0.9);
    else go(view.at + Math.sign(event.deltaY));
  }, { passive: false });

  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    const way = event.button === 1 || event.shiftKey ? "pan" : event.button === 2 ? "zoom" : byId("drag").value;
    drag = { way, x: event.clientX, y: event.clientY, left: 0 };
    stage.setPointerCapture(event.pointerId);
    stage.focus();
    event.preventDefault();
  });
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener("pointerup", () => { drag = null; });
  stage.addEventListener("pointercancel", () => { drag = null; });
  stage.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = [event.clientX - drag.x, event.clientY - drag.y];
    Object.assign(drag, { x: event.clientX, y: event.clientY });
    if (drag.way === "pan") move(x, y);
    else if (drag.way === "zoom") zoom(Math.exp(-y / 150));
    else if (drag.way === "scroll") {
      drag.left += y;
      const steps = Math.trunc(drag.left / 12);
      drag.left -= 12 * steps;
      if (steps) go(view.at + steps);
    } else {
      // Across the stage it is about that of the image.
      changeWindow((center, width) => {
        const step = width / 300;
        return [center + y * step, width + x * step];
      });
    }
  });

  presets.append(new Option("of the image", ""));
  for (const [name, center, width] of JSON.parse(said.presets)) {
    presets.append(new Option(`${name} ${center} / ${width}`, `${center},${width}`));
  }
  presets.addEventListener("change", () => {
    const [center, width] = presets.value.split(",").map(Number);
    view.window = presets.value ? { center, width, name: "linear" } : null;
    show();
  });
  slider.max = frames.length;
  slider.addEventListener("input", () => go(Number(slider.value) - 1));
  pace.addEventListener("change", () => {
    if (timer) {
      play();
      play();
    }
  });
  new ResizeObserver(place).observe(stage);
  show();
}

/* Adding objects: each file is a request of its own, so that each has its own outcome. */

const AT_ONCE = 4;
const REASONS = {
  0x0110: "the archive could not store it", 0x0122: "objects of its kind are not stored here",
  0xa700: "the archive has no room now; try later", 0xa900: "it is not what its header says",
  0xb000: "another object with its SOP Instance UID is stored already; this one is in quarantine",
  0xc000: "it is no DICOM file, or is damaged", 0xc122: "its transfer syntax is not known here",
};

function beginAdding(drop) {
  const chosen = byId("files");
  const list = byId("outcomes");
  const bar = byId("progress");
  const summary = byId("summary");
  const queue = [];
  const count = { all: 0, stored: 0, failed: 0, warned: 0 };
  let bytes = 0;
  let sent = 0;
  let running = 0;

  function say() {
    const left = count.all - count.stored - count.failed - count.warned;
    summary.textContent = `${count.stored} of ${count.all} stored`
      + (count.warned ? `, ${count.warned} in quarantine` : "")
      + (count.failed ? `, ${count.failed} not stored` : "") + (left ? `, ${left} to go` : "");
  }

  function outcome(file, kind, words, address) {
    count[kind] += 1;
    const item = document.createElement("li");
    item.className = { stored: "good", failed: "problem", warned: "problem" }[kind];
    item.dataset.outcome = kind;
    const name = document.createElement("bdi");
    name.textContent = file.webkitRelativePath || file.name;
    item.append(name, `: ${words} `);
    if (address) {
      const link = document.createElement("a");
      link.href = address;
      link.textContent = "to the study";
      item.append(link);
    }
    // Those that want attention come first.
    if (kind === "stored") list.append(item);
    else list.prepend(item);
  }

  function read(file, request) {
    let report = {};
    try {
      report = JSON.parse(request.responseText);
    } catch {
      outcome(file, "failed", request.responseText.trim() || `the archive answered with status ${request.status}`);
      return;
    }
    const items = (tag) => report[tag]?.Value ?? [];
    const reason = (item, tag) => item[tag]?.Value?.[0];
    const failed = [...items("00081198"), ...items("0008119A")];
    if (failed.length || !items("00081199").length) {
      const code = failed.length ? reason(failed[0], "00081197") : 0x0110;
      outcome(file, "failed", REASONS[code] ?? REASONS[code & 0xff00] ?? `refused with reason 0x${code.toString(16)}`);
      return;
    }
    const [stored] = items("00081199");
    const study = /\/studies\/([0-9.]+)/.exec(reason(stored, "00081190") ?? "")?.[1];
    const warning = reason(stored, "00081196");
    if (warning) outcome(file, "warned", REASONS[warning] ?? `stored with warning 0x${warning.toString(16)}`);
    else outcome(file, "stored", "stored", study && `/studies/${study}`);
  }

  function send(file) {
    const boundary = `page.${crypto.getRandomValues(new Uint32Array(4)).join(".")}`;
    const body = new Blob([
      `--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`, file, `\r\n--${boundary}--\r\n`,
    ]);
    const request = new XMLHttpRequest();
    let before = 0;
    const moved = (loaded) => {
      sent += loaded - before;
      before = loaded;
      bar.value = bytes ? sent / bytes : 1;
    };
    request.open("POST", "/dicom-web/studies");
    request.setRequestHeader("Content-Type", `multipart/related; type="application/dicom"; boundary=${boundary}`);
    request.setRequestHeader("Accept", "application/dicom+json");
    request.upload.addEventListener("progress", (event) => moved(Math.min(event.loaded, file.size)));
    request.addEventListener("load", () => read(file, request));
    request.addEventListener("error", () => outcome(file, "failed", "the connection was lost; it may be sent again"));
    request.addEventListener("loadend", () => {
      moved(file.size);
      running -= 1;
      say();
      next();
    });
    request.send(body);
  }

  function next() {
    while (running < AT_ONCE && queue.length) {
      running += 1;
      send(queue.shift());
    }
  }

  function add(files) {
    for (const file of files) {
      queue.push(file);
      count.all += 1;
      bytes += file.size;
    }
    if (count.all) bar.hidden = false;
    say();
    next();
  }

  // What cannot be read is told as what is not stored: nobody may believe that all of a folder has arrived.
  async function walk(entry) {
    try {
      if (entry.isFile) {
        add([await new Promise((done, failed) => entry.file(done, failed))]);
        return;
      }
      const reader = entry.createReader();
      for (;;) {
        const entries = await new Promise((done, failed) => reader.readEntries(done, failed));
        if (!entries.length) return;
        for (const each of entries) await walk(each);
      }
    } catch (error) {
      count.all += 1;
      const what = entry.isFile ? "it cannot be read" : "this folder cannot be read to its end";
      outcome({ name: entry.fullPath }, "failed", `${what}: ${error.message}`);
      say();
    }
  }

  chosen.addEventListener("change", () => {
    add(chosen.files);
    chosen.value = "";
  });
  for (const name of ["dragover", "dragenter"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    for (const item of [...event.dataTransfer.items].filter(({ kind }) => kind === "file")) {
      const entry = item.webkitGetAsEntry?.();
      if (entry) walk(entry);
      else add([item.getAsFile()].filter(Boolean));
    }
  });
  addEventListener("beforeunload", (event) => {
    if (running) event.preventDefault();
  });
}

/* Series of which there is no picture, which is not known before it is asked for. */

for (const picture of document.querySelectorAll("ul.series img")) {
  const blank = () => {
    const made = document.createElement("span");
    made.className = "blank";
    made.textContent = "no picture";
    picture.replaceWith(made);
  };
  picture.addEventListener("error", blank);
  if (picture.complete && !picture.naturalWidth && picture.currentSrc) blank();
}

const parts = { search: beginSearch, viewer: beginViewer, drop: beginAdding };
for (const [id, begin] of Object.entries(parts)) {
  const element = byId(id);
  if (element) begin(element);
}
