// The door: log in, or make the first account with the token that stands on the device.
const form = document.getElementById("login");
const button = form.querySelector("button");
const error = document.getElementById("error");
let first = { is_first_run: false };

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  error.textContent = "";
  const body = { name: form.name.value, password: form.password.value };
  if (first.is_first_run) body.token = form.token.value;
  const answer = await fetch(first.is_first_run ? "/first-run" : "/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (answer.ok) location.assign("/");
  else error.textContent = (await answer.json()).error;
});

first = await (await fetch("/first-run")).json();
if (first.is_first_run) {
  const token = form.querySelector(".token");
  token.hidden = false;
  token.querySelector("input").required = true;
  form.password.autocomplete = "new-password";
  button.textContent = "Make the first account";
  document.getElementById("why").textContent =
    `Nobody has an account yet. The first one is an engineer's; the token stands on the device in ${first.token_file}`;
}
button.disabled = false;
