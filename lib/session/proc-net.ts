import type { RequestOptions } from '../model/types.ts'
import { refusal } from './refusals.ts'
import type { Session } from './session.ts'

/**
 * The content of a file of /proc/net, piece by piece, so that a list of any length needs
 * the memory of one piece. The file is closed when the loop is left, and by close().
 */
export async function* readProcNet(
  session: Session,
  command: string,
  name: string,
  options: RequestOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const check = (): void => {
    options.signal?.throwIfAborted()
    session.checkOpen(command)
  }
  const file = await session.read(command, (transport) => transport.openProcNet(name), options)
  const forget = session.onClose(() => {
    file.close()
  })
  try {
    for (;;) {
      check()
      const piece = await session.inProgress(file.read())
      check()
      if ('errno' in piece) throw refusal(piece, command)
      if (piece.length === 0) return
      yield piece
    }
  } finally {
    forget()
    file.close()
  }
}

/** The whole content of a short one. */
export async function readShortProcNet(
  session: Session,
  command: string,
  name: string,
  options: RequestOptions,
): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const piece of readProcNet(session, command, name, options)) {
    text += decoder.decode(piece, { stream: true })
  }
  return text
}
