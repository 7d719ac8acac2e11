"use strict";
// The page of the demo. The device is driven over this page's own server; the window PC calls the agent's local API directly,
// as a business system does; the collection is the collector's own page in a frame.

const $ = (id) => document.getElementById(id);
const RED = 32;
const SOUNDS = {
  1: { text: "请您评价 Please rate", tones: [[660, 0.12], [880, 0.16]] },
  2: { text: "谢谢您的评价 Thank you", tones: [[784, 0.1], [988, 0.1], [1175, 0.2]] },
  4: { text: "您好，欢迎 Welcome", tones: [[988, 0.12], [1319, 0.2]] },
  5: { text: "请到本窗口 Please come to this window", tones: [[1319, 0.2], [1047, 0.3]] },
  16: { text: "大厅语音一 The hall's first text", tones: [[880, 0.2]] },
  17: { text: "大厅语音二 The hall's second text", tones: [[880, 0.2]] },
  3: { text: "暂时无法评价，请告知工作人员 Not taken, please tell the staff", tones: [[220, 0.35]] },
};
const CASES = [
  { case_no: "DH2026-0001", item_name: "社会保障卡申领", english: "Social security card" },
  { case_no: "DH2026-0002", item_name: "居民身份证换领", english: "Identity card renewal" },
  { case_no: "DH2026-0003", item_name: "个体工商户设立登记", english: "Business registration" },
  { case_no: "DH2026-0004", item_name: "不动产转移登记", english: "Property transfer" },
];
const STATES = {
  opening: ["正在发起……", "Opening…"],
  opened: ["请群众评价", "Waiting for the citizen"],
  rated: ["已评价，谢谢", "Rated"],
  expired: ["超时未评价", "Expired without a rating"],
  cancelled: ["已撤回", "Cancelled"],
  device_lost: ["评价器中断，未取得结果", "Device lost"],
  error: ["未能发起", "Could not be opened"],
};

// --- the device ------------------------------------------------------------------------------------------------

const rateButtons = [...document.querySelectorAll(".rate")];
let down = 0;
let sending = Promise.resolve();

function put(mask) {
  // one after the other, so that the device sees the buttons in the order in which the finger moved
  sending = sending.then(() => fetch("/device/keys", {
    method: "PUT", headers: { "content-type": "application/json", "x-panel": "1" }, body: JSON.stringify({ mask }),
  })).catch(() => {});
}
function hold(n) { down |= 1 << n; put(down); rateButtons[n].classList.add("down"); }
function release(n) {
  if (!(down & (1 << n))) return;
  down &= ~(1 << n); put(down); rateButtons[n].classList.remove("down");
}
function tap(n) { hold(n); setTimeout(() => release(n), 80); }

rateButtons.forEach((button, n) => {
  button.addEventListener("pointerdown", (event) => { if (event.button === 0) hold(n); });
  for (const name of ["pointerup", "pointerleave", "pointercancel"]) button.addEventListener(name, () => release(n));
  button.addEventListener("click", (event) => { if (event.detail === 0) tap(n); }); // keyboard and screen readers
});
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.target.tagName === "INPUT" || event.ctrlKey || event.altKey || event.metaKey) return;
  const n = "12345".indexOf(event.key);
  if (n >= 0 && event.key.length === 1) tap(n);
});

let audio = null;
function play(tones) {
  try {
    audio = audio || new AudioContext();
    let at = audio.currentTime;
    for (const [hertz, seconds] of tones) {
      const tone = audio.createOscillator();
      const gain = audio.createGain();
      tone.frequency.value = hertz;
      gain.gain.setValueAtTime(0.12, at);
      gain.gain.linearRampToValueAtTime(0, at + seconds);
      tone.connect(gain).connect(audio.destination);
      tone.start(at);
      tone.stop(at + seconds);
      at += seconds;
    }
  } catch { /* a browser without sound still shows the words */ }
}

let voiceTimer = 0;
function speak(number) {
  const sound = SOUNDS[number];
  if (!sound) return;
  $("voice").textContent = sound.text;
  play(sound.tones);
  clearTimeout(voiceTimer);
  voiceTimer = setTimeout(() => { $("voice").textContent = ""; }, 2500);
}

const shown = { lamps: 0, power: 0, cable: 0 };
function showDevice() {
  rateButtons.forEach((button, n) => button.classList.toggle("lit", Boolean(shown.lamps & (1 << n))));
  $("red-lamp").classList.toggle("lit", Boolean(shown.lamps & RED));
  $("device").dataset.power = shown.power;
  $("unplug").disabled = !shown.cable;
  $("cut-power").disabled = !shown.power;
  $("plug-in").disabled = Boolean(shown.cable && shown.power);
  const note = $("cable-note");
  note.classList.toggle("bad", !(shown.cable && shown.power));
  note.textContent = !shown.power ? "已断电：按键无反应，已致谢的评价都在存储中。 No power: nothing lights, everything thanked is in flash."
    : !shown.cable ? "数据线已拔：仍可评价，插好后自动补传。 Unplugged: rate on, it is sent when plugged in."
    : "已连接。 Connected.";
}
const events = new EventSource("/events");
events.onmessage = (event) => {
  const change = JSON.parse(event.data);
  if (change.sound) speak(change.sound);
  Object.assign(shown, change);
  showDevice();
};
events.onerror = () => {
  $("cable-note").textContent = "演示程序已停止。 The demo has been stopped.";
  $("cable-note").classList.add("bad");
};
for (const action of ["unplug", "cut-power", "plug-in"]) {
  $(action).addEventListener("click", () => fetch("/device/" + action, { method: "POST", headers: { "x-panel": "1" } }));
}

// --- the window PC ---------------------------------------------------------------------------------------------

let links = null;
let current = null;

async function agent(method, path, body, headers = {}) {
  const answer = await fetch(links.agent + path, {
    method,
    headers: { authorization: "Bearer " + links.token, ...(body ? { "content-type": "application/json" } : {}), ...headers },
    body: body ? JSON.stringify(body) : undefined,
  });
  const text = await answer.text();
  const content = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Error(content.message);
  return content;
}

function complain(error) {
  $("agent-note").textContent = error.message;
  $("agent-note").classList.add("bad");
}

function showEvaluation() {
  const [chinese, english] = STATES[current.state];
  const box = $("evaluation");
  box.dataset.state = current.state;
  const text = $("evaluation-text");
  text.textContent = `${current.case.item_name}：${chinese}`;
  const small = document.createElement("small");
  small.lang = "en";
  small.textContent = english;
  text.append(small);
  $("cancel").hidden = current.final;
}

async function follow(id) {
  while (current && current.id === id && !current.final) {
    const seen = await agent("GET", `/v1/evaluations/${id}?wait_s=20`);
    if (!current || current.id !== id) return;
    current = seen;
    showEvaluation();
  }
}

let opened = 0;
async function openFor(item) {
  try {
    opened += 1;
    // a sample case may be handled again and again: each time it is a new matter with a number of its own
    const caseNo = `${item.case_no}-${Date.now().toString(36)}-${opened}`;
    current = await agent("POST", "/v1/evaluations", { case: { case_no: caseNo, item_name: item.item_name }, timeout_s: 60 },
      { "idempotency-key": caseNo });
    showEvaluation();
    follow(current.id).catch(complain);
  } catch (error) { complain(error); }
}

for (const item of CASES) {
  const row = document.createElement("li");
  const name = document.createElement("span");
  const small = document.createElement("small");
  const button = document.createElement("button");
  name.textContent = item.item_name;
  small.textContent = `${item.case_no} · ${item.english}`;
  name.append(small);
  button.type = "button";
  button.textContent = "发起评价";
  button.setAttribute("aria-label", `发起评价 open an evaluation: ${item.item_name}`);
  button.addEventListener("click", () => openFor(item));
  row.append(name, button);
  $("cases").append(row);
}

$("cancel").addEventListener("click", async () => {
  try { current = await agent("DELETE", `/v1/evaluations/${current.id}`); showEvaluation(); } catch (error) { complain(error); }
});
$("staff-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try { await agent("PUT", "/v1/staff", { staff: $("staff").value }); await refresh(); } catch (error) { complain(error); }
});
$("sign-out").addEventListener("click", async () => {
  try { await agent("DELETE", "/v1/staff"); await refresh(); } catch (error) { complain(error); }
});

const LINKS = { searching: "正在寻找评价器", opening: "正在打开端口", asking: "正在呼叫评价器", identified: "正在连接", talking: "已连接", refused: "版本不符" };
function number(id, value) {
  $(id).textContent = value === null ? "–" : value;
  $(id).parentElement.classList.toggle("some", Boolean(value));
}
async function refresh() {
  const status = await agent("GET", "/v1/status");
  number("in-device", status.journal_waiting);
  number("to-send", status.outbox_to_send);
  number("sent", status.outbox_sent);
  $("staff-line").textContent = status.staff ? `在岗 signed in: ${status.staff}` : "未签到 nobody signed in";
  const note = $("agent-note");
  const trouble = status.link_trouble || status.broker_trouble || status.store_trouble;
  note.classList.toggle("bad", Boolean(trouble));
  note.textContent = trouble || `评价器 ${status.device || ""} ${LINKS[status.link] || status.link} · 消息服务器 ${status.broker_connected ? "已连接" : "未连接"}`;
}
async function watch() {
  try { await refresh(); } catch { complain(new Error("代理程序没有应答 the agent does not answer")); }
  setTimeout(watch, 1000);
}

(async () => {
  links = await (await fetch("/links")).json();
  $("collector").src = links.collector + "/?embed=1";
  watch();
})();
