// Follows the instance over GET /qr/stream. EventSource cannot send an Authorization header, so the stream is read
// with fetch; the token comes from the address's fragment, which never leaves the browser, or from the form.
"use strict";

const KEY = "wazap-token";
const RETRY_MS = 2000;
const $ = (id) => document.getElementById(id);

const REASONS = {
  connection_lost: "The connection to WhatsApp was lost; the instance keeps trying.",
  logged_out: "The phone logged this device out.",
  requested: "It was stopped on request and stays so until somebody connects it again.",
  forbidden: "WhatsApp refused this account. It may be banned.",
  replaced: "Another session took its place. Connect it again only if that one has ended.",
  multidevice_mismatch: "WhatsApp no longer accepts this link. Log out and link again.",
  bad_session: "WhatsApp no longer accepts this link; a new one starts.",
  qr_timeout: "The codes ran out because nobody scanned them.",
};

const STATES = {
  pending: { badge: "starting", title: "One moment", text: "The instance is starting or waits for WhatsApp." },
  qr_ready: { badge: "waiting for a scan", title: "Scan to link a phone", text: "" },
  connected: { badge: "connected", title: "Connected to WhatsApp", text: "Messages are sent and received. This page can be closed." },
  offline: { badge: "offline", title: "Not connected right now", text: "Linked, but the connection to WhatsApp is down. The instance keeps trying by itself." },
  disconnected: { badge: "disconnected", title: "Disconnected", text: "The instance does not try to connect." },
};

const REFUSED = {
  400: "WhatsApp does not know this number. Check it, or scan the QR code.",
  429: "Too many codes were asked for. Scan the QR code, or try again later.",
};

const PASSKEY = {
  preparing: "A phone took the code. WhatsApp is asked what a passkey has to sign.",
  awaiting_assertion: "This account has a passkey, and WhatsApp wants it besides the code.",
  checking: "WhatsApp looks at what the passkey signed.",
  awaiting_phone: "WhatsApp took it. The phone has to answer; follow what it says.",
  awaiting_confirmation: "Compare this code with the one on the phone. Is it another one, give up: somebody is in between.",
  finishing: "The phone is linking. Should it show a code, it must be this one; confirm it there.",
};

const FAILED = {
  timeout: "The linking with the passkey took too long.",
  refused: "WhatsApp refused to link with the passkey.",
  connection_lost: "The linking with the passkey ended: the phone declined, or the connection was lost.",
  abandoned: "",
};

// The line for WhatsApp's own page. Empty lists and transports are left out: with them Chrome asks for a USB key.
function consoleLine(options) {
  return "(async (o) => { const d = (t) => Uint8Array.from(atob(t.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0)); "
    + "const e = (b) => b && btoa(String.fromCharCode(...new Uint8Array(b))).replace(/\\+/g, '-').replace(/\\//g, '_').replace(/=+$/, ''); "
    + "const k = { challenge: d(o.challenge), rpId: o.rpId, timeout: o.timeout, userVerification: o.userVerification, extensions: o.extensions }; "
    + "if (o.allowCredentials && o.allowCredentials.length) k.allowCredentials = o.allowCredentials.map((c) => ({ type: c.type || 'public-key', id: d(c.id) })); "
    + "const go = async () => { const c = await navigator.credentials.get({ publicKey: k }); const r = c.response; "
    + "const t = JSON.stringify({ id: e(c.rawId), rawId: e(c.rawId), type: c.type, response: { clientDataJSON: e(r.clientDataJSON), "
    + "authenticatorData: e(r.authenticatorData), signature: e(r.signature), userHandle: e(r.userHandle) || null } }); "
    + "console.log(t); await navigator.clipboard.writeText(t).catch(() => {}); }; "
    + "addEventListener('click', () => go().catch(console.error), { once: true, capture: true }); "
    + "console.log('Now click anywhere into the page.'); })(" + JSON.stringify(options) + ")";
}

let token = null;
// What is shown of a linking with a passkey; asked for anew when it changes.
let passkeyShown = "";
let running = null;

function show(link) {
  const state = STATES[link.status] || STATES.pending;
  $("state").dataset.status = link.status;
  $("badge").textContent = state.badge;
  $("title").textContent = state.title;
  const reason = link.status === "offline" || link.status === "disconnected" ? REASONS[link.reason] : undefined;
  $("explanation").textContent = reason || state.text;
  $("explanation").hidden = !$("explanation").textContent;
  document.title = state.title + " – wazap";

  const scan = link.status === "qr_ready" && Boolean(link.qr);
  if (scan) $("code").src = link.qr; else $("code").removeAttribute("src");
  $("code").hidden = !scan;
  $("sign").toggleAttribute("hidden", scan);
  $("steps").hidden = !scan;
  $("rotation").hidden = !scan;
  $("rotation").textContent = "The code changes every 20 seconds by itself; this page follows.";

  showPasskey(link.passkey || { status: "none" }, scan);

  const code = scan ? link.pairing_code : null;
  $("by-code").hidden = !scan;
  $("pairing-code").hidden = !code;
  $("pairing-code").textContent = code || "";
  if (code) $("code-hint").textContent = "On the phone: Linked devices, Link a device, Link with phone number instead. Type this code there.";
  else if (link.pairing_code_refused) $("code-hint").textContent = REFUSED[link.pairing_code_refused] || "WhatsApp refused to link by code. Scan the QR code.";
  else $("code-hint").textContent = "";

  const linked = Boolean(link.phone) && (link.status === "connected" || link.status === "offline");
  $("facts").hidden = !linked;
  $("phone").textContent = linked ? "+" + link.phone : "";
  $("name").textContent = linked ? link.name || "–" : "";

  $("connect").hidden = link.status !== "disconnected";
  $("connect").disabled = false;
  $("connect").textContent = link.reason === "qr_timeout" ? "Show a new code" : "Connect";
  $("view-error").textContent = "";
}

async function showPasskey(passkey, scan) {
  const open = Boolean(PASSKEY[passkey.status]);
  $("passkey").hidden = !open;
  if (passkey.status === "failed" && scan && FAILED[passkey.reason] !== "") {
    const why = FAILED[passkey.reason] || "The linking with the passkey came to nothing.";
    $("explanation").textContent = why + " Begin again with the QR code.";
    $("explanation").hidden = false;
  }
  if (open) {
    const refused = passkey.whatsapp_code ? " What was handed in before was refused (" + passkey.whatsapp_code + "); sign anew." : "";
    $("badge").textContent = "passkey";
    $("title").textContent = "One step more: the passkey";
    $("passkey-text").textContent = PASSKEY[passkey.status] + refused;
  }
  const key = JSON.stringify(passkey);
  if (key === passkeyShown) return;
  passkeyShown = key;
  $("passkey-sign").hidden = true;
  $("passkey-compare").hidden = true;
  if (!open) return;
  try {
    const response = await fetch("/passkey", { headers: { Authorization: "Bearer " + token }, cache: "no-store" });
    if (!response.ok) throw new Error(await refusal(response));
    const now = await response.json();
    if (key !== passkeyShown) return;
    if (now.options) {
      $("passkey-script").value = consoleLine(now.options);
      $("passkey-sign").hidden = false;
    }
    if (now.code) {
      $("passkey-code").textContent = now.code;
      $("passkey-compare").hidden = false;
      $("passkey-confirm").hidden = now.status !== "awaiting_confirmation";
    }
  } catch (error) {
    passkeyShown = "";
    $("view-error").textContent = error.message;
  }
}

async function tellPasskey(method, path, body, button) {
  button.disabled = true;
  $("view-error").textContent = "";
  try {
    const headers = { Authorization: "Bearer " + token };
    if (body) headers["Content-Type"] = "application/json";
    const response = await fetch(path, { method, headers, body });
    if (!response.ok) throw new Error(await refusal(response));
  } catch (error) {
    $("view-error").textContent = error.message;
  } finally {
    button.disabled = false;
  }
}

function live(kind, text) {
  $("live").dataset.live = kind;
  $("live-text").textContent = text;
}

function ask(message) {
  live("off", "not connected to the instance");
  $("view").hidden = true;
  $("enter").hidden = false;
  $("form-error").textContent = message || "";
  $("token").value = "";
  $("token").focus();
}

function forget(message) {
  sessionStorage.removeItem(KEY);
  token = null;
  if (running) running.abort();
  ask(message);
}

// What the instance says is wrong, with the fields that it names.
async function refusal(response) {
  const body = await response.json().catch(() => null);
  const error = (body && body.error) || { message: "HTTP " + response.status };
  const fields = Object.entries(error.details || {}).filter(([, why]) => Array.isArray(why));
  return [error.message, ...fields.map(([field, why]) => field + ": " + why.join(" "))].join(" ");
}

// One event is the lines up to an empty one; only its data lines matter here.
function feed(buffer, onData) {
  let end;
  while ((end = buffer.indexOf("\n\n")) >= 0) {
    const data = buffer.slice(0, end).split("\n").filter((line) => line.startsWith("data:"))
      .map((line) => line.slice(5).trimStart());
    buffer = buffer.slice(end + 2);
    if (data.length) onData(data.join("\n"));
  }
  return buffer;
}

async function follow(signal) {
  const response = await fetch("/qr/stream", { headers: { Authorization: "Bearer " + token }, cache: "no-store", signal });
  if (response.status === 401) return forget("The instance does not know this token.");
  if (response.status === 403) return forget("This token may not read the state; it needs the scope read.");
  if (!response.ok) throw new Error(await refusal(response));
  live("on", "live");
  $("enter").hidden = true;
  $("view").hidden = false;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer = feed(buffer + value, (data) => show(JSON.parse(data)));
  }
}

async function run() {
  if (running) running.abort();
  const mine = new AbortController();
  running = mine;
  while (!mine.signal.aborted && token) {
    try {
      await follow(mine.signal);
    } catch (error) {
      if (mine.signal.aborted) return;
    }
    if (mine.signal.aborted || !token) return;
    live("lost", "the instance does not answer; trying again");
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

function enter(text) {
  token = text;
  sessionStorage.setItem(KEY, text);
  run();
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("token").value.trim();
  if (/^sk_[!-~]+$/.test(text)) enter(text);
  else $("form-error").textContent = "A token starts with sk_.";
});

$("forget").addEventListener("click", () => forget(""));

$("connect").addEventListener("click", async () => {
  $("connect").disabled = true;
  try {
    const response = await fetch("/connect", { method: "POST", headers: { Authorization: "Bearer " + token } });
    if (!response.ok) throw new Error(await refusal(response));
  } catch (error) {
    $("view-error").textContent = error.message;
    $("connect").disabled = false;
  }
});

$("code-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("code-button").disabled = true;
  $("view-error").textContent = "";
  try {
    const response = await fetch("/connect", {
      method: "POST",
      headers: { Authorization: "Bearer " + token, "Content-Type": "application/json" },
      body: JSON.stringify({ phone: $("number").value }),
    });
    if (!response.ok) throw new Error(await refusal(response));
  } catch (error) {
    $("view-error").textContent = error.message;
  } finally {
    $("code-button").disabled = false;
  }
});

$("passkey-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  await tellPasskey("POST", "/passkey", $("assertion").value, $("passkey-send"));
  $("assertion").value = "";
});

$("passkey-copy").addEventListener("click", async () => {
  $("passkey-script").select();
  // Only on a page with TLS, or on this machine; elsewhere it is selected, to be copied by hand.
  if (navigator.clipboard) await navigator.clipboard.writeText($("passkey-script").value).catch(() => {});
});

$("passkey-confirm").addEventListener("click", () => tellPasskey("POST", "/passkey/confirm", null, $("passkey-confirm")));

$("passkey-abandon").addEventListener("click", () => tellPasskey("DELETE", "/passkey", null, $("passkey-abandon")));

function fromFragment() {
  const text = location.hash.slice(1);
  if (!/^sk_[!-~]+$/.test(text)) return false;
  // The token must not stay in the address bar nor in the history.
  history.replaceState(null, "", location.pathname);
  enter(text);
  return true;
}

window.addEventListener("hashchange", fromFragment);
if (!fromFragment()) {
  const kept = sessionStorage.getItem(KEY);
  if (kept) enter(kept);
  else ask("");
}
