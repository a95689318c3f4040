(csv) => {
  if (!csv) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff" + csv], {type: "text/csv"}));
  link.download = "NAME";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
