// Keeps this page in the browser after the first visit, so that it opens without a network.
//
// make-web.mjs puts the SHA-256 of files.json here: another page or bundle is another version, which is fetched whole and
// checked before it takes the place of the old one. A version answers from what it keeps alone and mixes with no other.
const VERSION = "";
const NAME = `sentopt page at ${self.registration.scope}`; // other pages of this server keep what is theirs
const KEPT = `${NAME}: ${VERSION}`;

self.addEventListener("install", (event) => event.waitUntil(keep().then(() => self.skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil(dropOthers().then(() => self.clients.claim())));
self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET" && event.request.url.startsWith(self.registration.scope)) {
    event.respondWith(answer(event.request));
  }
});

async function keep() {
  const cache = await caches.open(KEPT);
  try {
    const list = await fetched("files.json", VERSION);
    const files = await list.clone().json();
    await cache.put(at("files.json"), list);
    for (const [name, { sha256 }] of Object.entries(files)) await cache.put(at(name), await fetched(name, sha256));
  } catch (error) {
    await caches.delete(KEPT);
    throw error;
  }
}

async function fetched(name, sha256) {
  const response = await fetch(at(name), { cache: "no-cache" });
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await response.clone().arrayBuffer()));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (!response.ok || found !== sha256) throw new Error(`${name} is not what files.json says of this version`);
  return response;
}

async function dropOthers() {
  const names = (await caches.keys()).filter((name) => name.startsWith(`${NAME}: `) && name !== KEPT);
  await Promise.all(names.map((name) => caches.delete(name)));
}

async function answer(request) {
  const address = new URL(request.url);
  address.search = address.hash = "";
  if (address.href === self.registration.scope) address.pathname += "index.html";
  return (await (await caches.open(KEPT)).match(address.href)) ?? fetch(request);
}

function at(name) {
  return new URL(name, self.registration.scope).href;
}
