/** Sentences that stay short whatever is put into them: what is told of a thing goes into events, and an event has a size. */

/** The first of them, and how many more there are: "vda, vdb and 3 more". */
export function listed(items: readonly string[], max = 10, separator = ', '): string {
  const shown = items.slice(0, max).join(separator);
  return items.length > max ? `${shown} and ${items.length - max} more` : shown;
}

/** The beginning of a text that is longer, with how much is left out. Never cut in the middle of a character. */
export function shortened(text: string, charactersMax: number): string {
  if (text.length <= charactersMax) return text;
  const cut = (text.codePointAt(charactersMax - 1) ?? 0) > 0xffff ? charactersMax - 1 : charactersMax;
  return `${text.slice(0, cut)}... (${text.length - cut} characters more)`;
}
