// The live page: one event stream in, rows and numbers out. Text is set as text, never as markup.
"use strict";

const MOST_ROWS = 60;
const SVG = "http://www.w3.org/2000/svg";
const rows = document.getElementById("rows");
const hall = new Intl.DateTimeFormat("zh-CN", { timeZone: "Asia/Shanghai", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat("zh-CN", { timeZone: "Asia/Shanghai", year: "numeric", month: "2-digit", day: "2-digit" });
const OTHER = { extra: "多按 · 不计", expired: "超时未评", cancelled: "已取消" };
let settled = false; // false while the first page full arrives: nothing of it is news
let sayable = true;

function put(parent, tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function set(id, text) {
  const node = document.getElementById(id);
  if (node.textContent !== String(text)) node.textContent = text;
}

function duration(ms) {
  if (ms === null) return "–";
  if (ms < 0) return "< 1 ms";
  if (ms < 1000) return ms + " ms";
  if (ms < 60000) return (ms / 1000).toFixed(1) + " 秒";
  if (ms < 3600000) return Math.round(ms / 60000) + " 分";
  if (ms < 172800000) return Math.round(ms / 3600000) + " 小时";
  return Math.round(ms / 86400000) + " 天";
}

function face(word) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", "#face-" + word);
  svg.append(use);
  return svg;
}

function add(row) {
  document.getElementById("empty").hidden = true;
  if (settled) row.classList.add("fresh");
  rows.prepend(row);
  while (rows.childElementCount > MOST_ROWS) rows.lastElementChild.remove();
}

function showTime(row, ms) {
  const time = put(row, "span", "time");
  if (!ms) {
    time.append("时间未知");
    return;
  }
  time.append(hall.format(ms));
  if (day.format(ms) !== day.format(Date.now())) put(time, "small", "", day.format(ms));
}

function showEntry(item) {
  const row = document.createElement("li");
  row.className = "row" + (item.replaced_by ? " replaced" : "");
  row.id = "row-" + item.device + "-" + item.seq;
  row.title = item.device + " #" + item.seq;
  showTime(row, item.pressed_ms);
  put(row, "span", "window", item.window + " 号");
  const about = put(row, "span", "case");
  if (item.case) {
    put(about, "span", "", item.case.item_name || item.case.case_no);
    if (item.case.item_name) put(about, "span", "no", item.case.case_no);
    if (item.case_is_late) put(about, "span", "no", "补登 named afterwards");
  } else {
    put(about, "span", "none", item.case_matches === false ? "办件不符 case mismatch" : "未关联办件");
  }
  const level = put(row, "span", "level");
  if (item.kind === "rating") {
    const chip = put(level, "span", "chip " + item.level);
    chip.append(face(item.level));
    put(chip, "span", "", item.level_chinese);
  } else {
    put(level, "span", "chip other", OTHER[item.kind]);
  }
  put(row, "span", "took", item.historical ? "补传 " + duration(item.latency_ms) : duration(item.latency_ms));
  const checks = put(row, "span", "checks");
  put(checks, "span", "ok", "✓ 签名");
  if (item.link === "gap_before") put(checks, "span", "waits pending", "链待补").dataset.device = item.device;
  else put(checks, "span", item.chained ? "ok" : "no-ok", item.chained ? "✓ 链" : "✗ 链");
  if (item.case_matches === false) put(checks, "span", "no-ok", "✗ 办件");
  add(row);
  if (item.revises) {
    const before = document.getElementById("row-" + item.device + "-" + item.revises);
    if (before) before.classList.add("replaced");
  }
  if (settled && item.kind === "rating") {
    say(item.window + " 号窗口 " + item.level_chinese);
    const card = document.querySelector(".card." + item.level);
    card.classList.add("fresh");
    setTimeout(() => card.classList.remove("fresh"), 200);
  }
}

function showTrouble(className, title, english, about, aboutEnglish) {
  const row = document.createElement("li");
  row.className = "row trouble " + className;
  put(row, "b", "", title);
  put(row, "span", "en", english);
  put(row, "div", "about", about);
  if (aboutEnglish) put(row, "div", "about en", aboutEnglish);
  add(row);
  if (settled) say(title);
  return row;
}

// a device without a gap has had all of its gaps filled
function showFilled(devices) {
  const whole = new Set(devices.filter((item) => item.gaps === 0).map((item) => item.device));
  for (const mark of rows.querySelectorAll(".pending")) {
    if (!whole.has(mark.dataset.device)) continue;
    mark.className = "ok";
    mark.textContent = mark.tagName === "B" ? "缺口已补齐" : "✓ 链";
  }
}

function say(text) {
  if (!sayable) return;
  sayable = false;
  set("said", text);
  setTimeout(() => { sayable = true; }, 2000);
}

function showSummary(now) {
  for (const [level, count] of Object.entries(now.levels)) {
    set("count-" + level, count.toLocaleString("zh-CN"));
    document.getElementById("share-" + level).style.width = now.ratings ? (100 * count / now.ratings) + "%" : "0";
  }
  const known = now.windows.some((item) => item.waiting_agent !== null);
  // a device that is not connected goes on rating: what it holds is not known until it is back
  const away = now.windows.some((item) => item.waiting_device === null);
  set("waiting-device", known ? now.waiting.device + (away ? " + ?" : "") : "–");
  set("waiting-agent", known ? now.waiting.agent : "–");
  set("online", now.windows.filter((item) => item.online).length + " / " + now.windows.length);
  set("total", now.ratings.toLocaleString("zh-CN"));
  set("gaps", now.gaps);
  document.getElementById("gaps-pill").classList.toggle("attention", now.gaps > 0);
  const wrong = Object.values(now.evidence).reduce((sum, count) => sum + count, 0);
  set("evidence", wrong);
  document.getElementById("evidence-pill").classList.toggle("attention", wrong > 0);
  showFilled(now.devices);
  showLink(now.broker ? "up" : "down", now.broker ? "已连接" : "消息服务器未连接", now.broker ? "connected" : "no broker");
  settled = true;
}

function showLink(state, title, english) {
  const link = document.getElementById("link");
  link.classList.toggle("up", state === "up");
  link.classList.toggle("down", state === "down");
  link.querySelector("b").textContent = title;
  link.querySelector(".en").textContent = english;
}

function data(show) {
  return (event) => show(JSON.parse(event.data));
}

const stream = new EventSource("/events");
for (const kind of ["rating", "extra", "expired", "cancelled"]) stream.addEventListener(kind, data(showEntry));
stream.addEventListener("summary", data(showSummary));
stream.addEventListener("gap", data((item) => {
  const title = showTrouble("gap", "缺口", "gap", `${item.window} 号窗口 · ${item.device} · 第 ${item.seq} 条之前的记录尚未收到`).querySelector("b");
  title.className = "pending";
  title.dataset.device = item.device;
}));
stream.addEventListener("evidence", data((item) => {
  const when = day.format(item.last_ms) + " " + hall.format(item.last_ms);
  const where = [when, item.place || item.topic, item.device, item.seq && "#" + item.seq];
  showTrouble("", "异常：" + item.chinese, item.kind, [...where, item.advice_chinese].filter(Boolean).join(" · "), item.text + "; " + item.advice);
}));
stream.addEventListener("skipped", data((item) =>
  showTrouble("gap", "已略过 " + item.count + " 条", "skipped", "补传较多，完整内容见 /api/v1/ratings?after=" + item.after)));
stream.onerror = () => showLink("down", "连接中断，正在重连", "reconnecting");

const clock = document.getElementById("clock");
if (clock) {
  const tick = () => { clock.textContent = day.format(Date.now()) + " " + hall.format(Date.now()); };
  tick();
  setInterval(tick, 1000);
}
