// A conversation with the served model, and what is known of it. All text goes in as text, never as markup.

const $ = (id) => document.getElementById(id);
const messages = [];
let model = null;
let running = null;

function headers() {
  const key = $("key").value || sessionStorage.getItem("key") || "";
  return key ? { authorization: `Bearer ${key}` } : {};
}

function put(list, rows) {
  list.replaceChildren(
    ...rows.flatMap(([name, value]) => {
      const dt = document.createElement("dt");
      const dd = document.createElement("dd");
      dt.textContent = name;
      dd.textContent = value ?? "not known";
      return [dt, dd];
    }),
  );
}

function classOf(outcome) {
  return { PASSED: "passed", FAILED: "failed" }[outcome] ?? "";
}

function showModel(about) {
  model = about.name;
  document.title = `${about.name} – llorch`;
  $("name").textContent = about.name;
  put($("facts"), [["format", about.format], ["architecture", about.architecture], ["digest", about.digest]]);
  const checked = about.verification;
  $("outcome").textContent = checked ? checked.outcome : "No check of it is recorded.";
  $("outcome").className = classOf(checked?.outcome);
  $("more").hidden = !checked?.checks?.length;
  $("checks").replaceChildren(
    ...(checked?.checks ?? []).map((check) => {
      const row = document.createElement("tr");
      for (const value of [check.name, check.status, check.value]) {
        row.append(Object.assign(document.createElement("td"), { textContent: value ?? "" }));
      }
      row.children[1].className = classOf(check.status);
      return row;
    }),
  );
  const origins = about.provenance.origins ?? [];
  put($("origins"), origins.length ? origins.flatMap(originRows) : [["origin", "not recorded"]]);
}

function originRows(origin) {
  const rows = [["is", origin.names.join(", ") || origin.kind]];
  if (origin.made_by) rows.push(["made by run", origin.made_by]);
  for (const digest of origin.made_from) rows.push(["made from", digest]);
  for (const source of origin.sources) rows.push(["downloaded", [source.repository, source.path].filter(Boolean).join(" / ")]);
  return rows;
}

async function look() {
  let again = 1000;
  try {
    const health = await fetch("health");
    const state = await health.json();
    if (!health.ok) {
      $("state").textContent = state.error.message;
    } else {
      const about = await fetch("provenance", { headers: headers() });
      $("keyed").hidden = about.status !== 401 && !headers().authorization;
      if (about.ok) {
        const document_ = await about.json();
        showModel(document_);
        $("state").textContent = "ready";
        again = document_.digest ? 30000 : 2000;
      } else {
        $("state").textContent = (await about.json()).error.message;
      }
    }
  } catch {
    $("state").textContent = "the server cannot be reached";
  }
  setTimeout(look, again);
}

function turn(who, text) {
  const element = document.createElement("div");
  element.className = `turn ${who}`;
  element.dataset.who = { user: "you", assistant: model, error: "error" }[who];
  element.textContent = text;
  $("turns").append(element);
  element.scrollIntoView({ block: "end" });
  return element;
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    held += value;
    const parts = held.split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

function body() {
  const system = $("system").value.trim();
  return {
    model,
    messages: system ? [{ role: "system", content: system }, ...messages] : messages,
    temperature: Number($("temperature").value),
    seed: Number($("seed").value),
    max_tokens: Number($("tokens").value),
    stream: true,
    stream_options: { include_usage: true },
  };
}

async function answer(element, signal) {
  const begun = performance.now();
  const response = await fetch("v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json", ...headers() },
    body: JSON.stringify(body()),
    signal,
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  let text = "";
  let usage = null;
  for await (const chunk of events(response)) {
    if (chunk.error) throw new Error(chunk.error.message);
    usage = chunk.usage ?? usage;
    text += chunk.choices[0]?.delta?.content ?? "";
    element.textContent = text;
    $("turns").scrollTop = $("turns").scrollHeight;
  }
  return { text, usage, seconds: (performance.now() - begun) / 1000 };
}

async function send() {
  const said = $("said").value.trim();
  if (!said || !model || running) return;
  $("said").value = "";
  messages.push({ role: "user", content: said });
  turn("user", said);
  const element = turn("assistant", "");
  running = new AbortController();
  $("send").disabled = true;
  $("stop").disabled = false;
  try {
    const { text, usage, seconds } = await answer(element, running.signal);
    messages.push({ role: "assistant", content: text });
    note(element, `${usage?.completion_tokens ?? 0} tokens in ${seconds.toFixed(1)} s`);
    if (headers().authorization) sessionStorage.setItem("key", $("key").value || sessionStorage.getItem("key"));
  } catch (error) {
    if (error.name === "AbortError") {
      messages.push({ role: "assistant", content: element.textContent });
      note(element, "stopped");
    } else {
      messages.pop();
      element.remove();
      turn("error", error.message);
      $("said").value = said;
    }
  } finally {
    running = null;
    $("send").disabled = false;
    $("stop").disabled = true;
    $("said").focus();
  }
}

function note(element, text) {
  element.append(Object.assign(document.createElement("span"), { className: "note", textContent: text }));
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
$("said").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running) running.abort();
});
$("stop").addEventListener("click", () => running?.abort());
$("clear").addEventListener("click", () => {
  running?.abort();
  messages.length = 0;
  $("turns").replaceChildren();
  $("said").focus();
});
$("said").focus();
look();
