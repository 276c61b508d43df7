// Elements in one line each.
export function element(tag, options = {}, ...children) {
  const { data, on, ...rest } = options, made = document.createElement(tag);
  for (const [name, value] of Object.entries(rest)) {
    if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  Object.assign(made.dataset, data ?? {});
  for (const [name, listener] of Object.entries(on ?? {})) made.addEventListener(name, listener);
  made.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
  return made;
}

export function card(title, id, ...children) {
  return element("section", { className: "card", id }, element("h2", {}, title), ...children);
}
