// Signs requests of the `tg1` dialect (docs/signing.md) with what node brings along. As a program it sends one:
//
//   API_KEY=demo API_SECRET=... node sign.mjs POST http://127.0.0.1:8000/orders '{"quantity": 1}'
//   API_KEY=demo API_PRIVATE_KEY=key.pem node sign.mjs GET http://127.0.0.1:8000/orders
//   node sign.mjs --vectors tests/vectors/tg1_signing.json
//
// API_SECRET is the HMAC secret as it was shown; API_PRIVATE_KEY a file with an Ed25519 key in PEM.

import { createHash, createHmac, createPrivateKey, randomBytes, sign as signWith } from "node:crypto";
import { readFileSync } from "node:fs";
import { argv, env, exit } from "node:process";
import { pathToFileURL } from "node:url";

const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex"); // before 32 raw bytes (RFC 8410)

/** An HMAC key: the secret as text or bytes. */
export const hmacKey = (secret) => ({
  label: "TG1-HMAC-SHA256",
  make: (text) => createHmac("sha256", secret).update(text).digest("base64url"),
});

/** An Ed25519 key: PEM text, or the 32 bytes of the private key. */
export const ed25519Key = (key) => {
  const der = { key: Buffer.concat([PKCS8, Buffer.from(key)]), format: "der", type: "pkcs8" };
  const privateKey = createPrivateKey(typeof key === "string" ? key : der);
  return { label: "TG1-ED25519", make: (text) => signWith(null, text, privateKey).toString("base64url") };
};

/**
 * Sign one attempt: a retry calls this again. Returns the text that was signed and the header fields to add.
 * `url` is a URL object, `body` a Buffer, `contentType` what will be sent, or empty.
 */
export function sign(id, key, { method, url, body = Buffer.alloc(0), contentType = "", time, nonce }) {
  const stamp = String(time ?? Date.now());
  const once = nonce ?? randomBytes(16).toString("base64url");
  const digest = createHash("sha256").update(body).digest("hex");
  const target = url.pathname + url.search; // as fetch sends it; url.host has no default port
  const lines = [key.label, id, stamp, once, method, url.host, target, contentType, digest];
  const text = lines.join("\n");
  const signature = key.make(Buffer.from(text));
  return { text, headers: { "TG-Key": id, "TG-Time": stamp, "TG-Nonce": once, "TG-Signature": signature } };
}

/** Sign and send with fetch. A redirect is an error: the credential goes to nobody else. */
export async function send(id, key, method, url, text) {
  const body = text === undefined ? undefined : Buffer.from(text);
  const contentType = body && "application/json";
  const { headers } = sign(id, key, { method, url, body, contentType });
  if (contentType) headers["Content-Type"] = contentType;
  return fetch(url, { method, headers, body, redirect: "error" });
}

function check(file) {
  const { keys, tests } = JSON.parse(readFileSync(file, "utf8"));
  for (const test of tests) {
    const { secret, private: seed } = keys[test.key];
    const key = secret ? hmacKey(Buffer.from(secret, "hex")) : ed25519Key(Buffer.from(seed, "hex"));
    const { method, content_type: contentType, time_ms: time, nonce } = test;
    const url = new URL(test.url), body = Buffer.from(test.body, "hex");
    const made = sign(test.key, key, { method, url, body, contentType, time, nonce });
    if (made.text !== test.string_to_sign || made.headers["TG-Signature"] !== test.signature) {
      console.error(`${test.name}:\n${made.text}\nis not\n${test.string_to_sign}`);
      return 1;
    }
  }
  console.log(`${tests.length} vectors agree`);
  return 0;
}

async function main([method, where, text]) {
  if (method === "--vectors") return check(where);
  const { API_KEY: id, API_SECRET: secret, API_PRIVATE_KEY: pem } = env;
  if (!where || !id || !(secret || pem)) {
    console.error("usage: API_KEY=... API_SECRET=... node sign.mjs METHOD URL [JSON]");
    return 2;
  }
  const key = secret ? hmacKey(secret) : ed25519Key(readFileSync(pem, "utf8"));
  const answer = await send(id, key, method, new URL(where), text);
  console.log(answer.status);
  console.log(await answer.text());
  return answer.ok ? 0 : 1;
}

if (argv[1] && import.meta.url === pathToFileURL(argv[1]).href) exit(await main(argv.slice(2)));
