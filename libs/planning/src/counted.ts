/** `counted(2, 'wave')` is "2 waves". */
export const counted = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`;
