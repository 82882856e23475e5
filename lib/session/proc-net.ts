import type { RequestOptions } from '../model/types.ts'
import type { Failure, OpenFile } from '../transport/transport.ts'
import { forgetAbort, onAbort } from '../util/signals.ts'
import { refusal } from './refusals.ts'
import type { Session } from './session.ts'

/**
 * The content of a file of /proc/net, piece by piece, so that a list of any length needs
 * the memory of one piece. Others have the kernel between two pieces. The file is closed
 * when the loop is left, dropped or aborted, and by close().
 */
export async function* readProcNet(
  session: Session,
  command: string,
  name: string,
  options: RequestOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { signal } = options
  const check = (): void => {
    signal?.throwIfAborted()
    session.checkOpen(command)
  }
  const file = await session.read(command, (transport) => transport.openProcNet(name), options)
  const forget = closeAtTheEnd(file, session, signal)
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

/** Closes a file when the session is closed or the signal raised. The result cancels that. */
function closeAtTheEnd(file: OpenFile, session: Session, signal: AbortSignal | undefined): () => void {
  // Held weakly, since nothing says that a loop was dropped: garbage collection closes its file.
  const held = new WeakRef(file)
  const close = (): void => held.deref()?.close()
  if (signal !== undefined) onAbort(signal, close)
  const forgetClose = session.onClose(close)
  const forget = (): void => {
    if (signal !== undefined) forgetAbort(signal, close)
    forgetClose()
  }
  dropped.register(file, forget)
  return forget
}

const dropped = new FinalizationRegistry<() => void>((forget) => {
  forget()
})

/** The whole content of a short one, which is read in its turn among the other calls. */
export async function readShortProcNet(
  session: Session,
  command: string,
  name: string,
  options: RequestOptions,
): Promise<string> {
  const { text } = await session.read(
    command,
    async (transport): Promise<{ readonly text: string } | Failure> => {
      const file = await transport.openProcNet(name)
      if ('errno' in file) return file
      try {
        const decoder = new TextDecoder()
        let text = ''
        for (;;) {
          const piece = await file.read()
          if ('errno' in piece) return piece
          if (piece.length === 0) return { text }
          text += decoder.decode(piece, { stream: true })
        }
      } finally {
        file.close()
      }
    },
    options,
  )
  return text
}
