
"use strict";
const byId = (id) => document.getElementById(id);
const chat = byId("chat"), question = byId("question"), send = byId("send"), model = byId("model");
let messages = [];
let running = null;

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function headers() {
  const all = { "Content-Type": "application/json" };
  const key = byId("key").value.trim();
  if (key) all.Authorization = "Bearer " + key;
  return all;
}

async function problem(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return "the server answered with status " + response.status;
  }
}

async function loadModels() {
  const response = await fetch("/v1/models", { headers: headers() });
  if (!response.ok) {
    if (response.status === 401) byId("settings").open = true;
    return;
  }
  const chosen = model.value;
  model.replaceChildren();
  for (const entry of (await response.json()).data) {
    const label = entry.parent ? entry.id + " (" + (entry.tier || "adapter") + ")" : entry.id;
    const option = make("option", "", label);
    option.value = entry.id;
    model.append(option);
  }
  if (chosen) model.value = chosen;
}

// Scrolls along only if the reader is at the end.
function follow(change) {
  const atEnd = chat.scrollHeight - chat.scrollTop - chat.clientHeight < 60;
  change();
  if (atEnd) chat.scrollTop = chat.scrollHeight;
}

async function say(reply, body, note) {
  const response = await fetch("/v1/feedback", {
    method: "POST", headers: headers(), body: JSON.stringify({ request_id: reply.id, ...body }),
  });
  reply.note.className = response.ok ? "note" : "fault";
  reply.note.textContent = response.ok ? note : await problem(response);
  return response.ok;
}

function newReply() {
  const element = make("article", "reply");
  const details = make("details");
  const summary = make("summary", "", "Thinking…");
  const steps = make("ol", "steps");
  const text = make("div", "text");
  const foot = make("div", "foot");
  const speed = make("span", "", "");
  const note = make("span", "note");
  details.append(summary, steps);
  details.hidden = true;
  foot.append(speed, make("span", "spring"), note);
  element.append(details, text, foot);
  return { element, details, summary, steps, text, foot, speed, note, reasoning: "", answer: "", tokens: 0, id: null };
}

// A line of the chain is a step; empty lines are none.
function showSteps(reply, done) {
  const lines = reply.reasoning.split("\n").filter((line) => line.trim());
  reply.details.hidden = lines.length === 0;
  lines.forEach((line, index) => {
    let item = reply.steps.children[index];
    if (!item) {
      item = make("li");
      item.append(make("span", "text"));
      reply.steps.append(item);
    }
    item.firstChild.textContent = line;
    if (done && item.children.length === 1) {
      const button = make("button", "", "wrong?");
      button.type = "button";
      button.title = "This step is wrong";
      button.setAttribute("aria-label", "Step " + (index + 1) + " is wrong");
      button.addEventListener("click", async () => {
        if (!await say(reply, { wrong_step: index }, "Step " + (index + 1) + " is marked as wrong.")) return;
        for (const other of reply.steps.children) {
          other.classList.toggle("wrong", other === item);
          other.lastChild.textContent = other === item ? "wrong" : "wrong?";
        }
      });
      item.append(button);
    }
  });
  if (done) reply.summary.textContent = "Thought in " + lines.length + (lines.length === 1 ? " step" : " steps");
}

// Drawn, as not every machine has a font with the signs.
function thumb(down) {
  const svg = byId("thumb").content.firstElementChild.cloneNode(true);
  if (down) svg.firstElementChild.setAttribute("transform", "rotate(180 12 12)");
  return svg;
}

function addJudgement(reply) {
  const button = (label, title, action) => {
    const element = make("button");
    element.append(label);
    element.type = "button";
    element.title = title;
    element.setAttribute("aria-label", title);
    element.addEventListener("click", () => action(element));
    reply.foot.insertBefore(element, reply.note);
    return element;
  };
  const rate = (rating, note) => async (pressed) => {
    if (!await say(reply, { rating }, note)) return;
    for (const other of thumbs) other.setAttribute("aria-pressed", String(other === pressed));
  };
  const thumbs = [
    button(thumb(false), "A good answer", rate(1, "Thank you.")),
    button(thumb(true), "A bad answer", rate(-1, "Thank you.")),
  ];
  button("Edit", "Write a better answer", (pressed) => {
    pressed.disabled = true;
    const form = make("form", "edit");
    const area = make("textarea");
    area.value = reply.answer;
    area.rows = Math.min(12, Math.max(4, reply.answer.split("\n").length));
    area.setAttribute("aria-label", "A better answer");
    const keep = make("button", "", "Keep this answer");
    form.append(area, keep);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (await say(reply, { edited_answer: area.value }, "Your answer is kept.")) {
        form.remove();
        pressed.disabled = false;
      }
    });
    reply.element.append(form);
    area.focus();
  });
}

// The events of a stream, one JSON value each.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    let end;
    while ((end = held.indexOf("\n\n")) >= 0) {
      const event = held.slice(0, end);
      held = held.slice(end + 2);
      if (!event.startsWith("data: ")) continue;
      if (event === "data: [DONE]") return;
      yield JSON.parse(event.slice(6));
    }
  }
}

async function ask(text) {
  byId("empty")?.remove();
  const asked = make("div", "user text", text);
  const reply = newReply();
  chat.append(asked, reply.element);
  chat.scrollTop = chat.scrollHeight;
  // "New chat" begins another list; what is still running must not write to that.
  const conversation = messages;
  conversation.push({ role: "user", content: text });
  const system = byId("system").value.trim();
  const most = parseInt(byId("max-tokens").value, 10);
  const body = {
    model: model.value || undefined,
    messages: system ? [{ role: "system", content: system }, ...conversation] : conversation,
    temperature: Number(byId("temperature").value),
    stream: true,
    stream_options: { include_usage: true },
  };
  if (most > 0) body.max_tokens = most;
  running = new AbortController();
  send.textContent = "Stop";
  let first = 0, finish = null;
  try {
    const response = await fetch("/v1/chat/completions", {
      method: "POST", headers: headers(), body: JSON.stringify(body), signal: running.signal,
    });
    if (!response.ok) throw new Error(await problem(response));
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      reply.id = event.id;
      if (event.usage) reply.tokens = event.usage.completion_tokens;
      const choice = event.choices[0];
      if (!choice) continue;
      finish = choice.finish_reason || finish;
      const { reasoning, content } = choice.delta;
      if (!reasoning && !content) continue;
      first = first || performance.now();
      follow(() => {
        if (reasoning) {
          reply.reasoning += reasoning;
          showSteps(reply, false);
        }
        if (content) {
          reply.answer += content;
          reply.text.textContent = reply.answer;
        }
      });
    }
    const seconds = (performance.now() - first) / 1000;
    const rate = seconds > 0 && reply.tokens > 1 ? ((reply.tokens - 1) / seconds).toFixed(1) + " tokens/s" : "";
    reply.speed.textContent = [reply.tokens + " tokens", rate, finish === "length" ? "cut at the limit" : ""].filter(Boolean).join(" · ");
  } catch (error) {
    reply.note.className = "fault";
    reply.note.textContent = error.name === "AbortError" ? "Stopped." : error.message;
  }
  follow(() => {
    showSteps(reply, Boolean(finish));
    if (finish) addJudgement(reply);
  });
  // A question that was not answered is no part of the conversation.
  if (reply.answer) conversation.push({ role: "assistant", content: reply.answer });
  else conversation.pop();
  running = null;
  send.textContent = "Send";
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) {
    running.abort();
    return;
  }
  const text = question.value.trim();
  if (!text) return;
  question.value = "";
  grow();
  ask(text);
});

function grow() {
  question.rows = Math.min(10, question.value.split("\n").length);
}

question.addEventListener("input", grow);
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (!running) byId("ask").requestSubmit();
  }
});

byId("new").addEventListener("click", () => {
  if (running) running.abort();
  messages = [];
  chat.replaceChildren();
  question.focus();
});

byId("key").value = sessionStorage.getItem("key") || "";
byId("key").addEventListener("change", () => {
  sessionStorage.setItem("key", byId("key").value.trim());
  loadModels();
});
loadModels();
