() => {
  // What Gradio's own elements lack for keyboards and screen readers; elements come and go with tabs and widths.
  const repair = () => {
    // Gradio measures the width of the tabs on copies of their buttons, which a keyboard would visit unseen.
    document.querySelectorAll(".tab-container.visually-hidden").forEach((e) => { e.inert = true; });
    document.querySelectorAll(".overflow-menu > button:not([aria-label])").forEach((e) => {
      e.setAttribute("aria-label", "More tabs");
    });
    // A text field is no list; the list that it opens is one, and the field names it already.
    document.querySelectorAll("input[role=listbox]").forEach((e) => {
      e.setAttribute("role", "combobox");
      e.setAttribute("aria-haspopup", "listbox");
    });
    // Code and tables of Markdown that are wider than the page are scrolled with the arrow keys.
    document.querySelectorAll(".evidence pre, .evidence .prose table").forEach((e) => {
      if (e.scrollWidth > e.clientWidth) e.tabIndex = 0;
    });
  };
  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; repair(); });
  };
  new MutationObserver(soon).observe(document.body, { childList: true, subtree: true });
  addEventListener("resize", soon);
  repair();
}
