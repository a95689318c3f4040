// Reads the chosen file in the browser: the server keeps no file, and a file that is too large is not sent.
const limit = Number(element.querySelector("input").dataset.limit);
const base64 = (bytes) => {
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
};
element.addEventListener("change", async (event) => {
  const file = event.target.files[0];
  if (!file) return;
  const content = file.size > limit ? "too large" : base64(new Uint8Array(await file.arrayBuffer()));
  props.value = `${file.name}\n${content}`;
  event.target.value = "";  // so that the same file can be chosen again after it was changed
  trigger("upload");
});
