/** @param {readonly number[]} numbers at least one */
export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const [below, above] = sorted.length % 2 === 1 ? [middle, middle] : [middle - 1, middle]
  return (Number(sorted[below]) + Number(sorted[above])) / 2
}
