import { pages } from '../docs/markdown.ts'

/** The rows of docs/ipvsadm.md that have a line of ipvsadm and the one of ours that does the same, in their order. */
export function verbLines(): { readonly theirs: string; readonly ours: string }[] {
  const page = pages().find(({ name }) => name === 'docs/ipvsadm.md')
  return (page?.lines ?? []).flatMap((line) => {
    const [, theirs, ours] = /^\| `ipvsadm ([^`]+)` \| `ipvs ([^`]+)` \|$/.exec(line) ?? []
    return theirs === undefined || ours === undefined ? [] : [{ theirs, ours }]
  })
}
