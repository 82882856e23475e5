import { IpProtocol } from '../../model/constants.ts'
import type { ConnectionTimeouts } from './timeouts.ts'

/** States of connections, and how long the kernel remembers an idle connection in each. */

/** As /proc/net/ip_vs_conn writes them. */
export type ConnectionState =
  'SYN_RECV' | 'ESTABLISHED' | 'FIN_WAIT' | 'CLOSE_WAIT' | 'TIME_WAIT' | 'CLOSE' | 'CLOSED' | 'UDP'

/** An event of a connection, as the director sees it. */
export type Event = 'open' | 'data' | 'clientCloses' | 'bothClose' | 'reset'

/** Whether a connection counts as active (tcp_state_active_table, sctp_state_active_table). */
export function isActive(state: ConnectionState): boolean {
  return state === 'ESTABLISHED' || state === 'SYN_RECV'
}

/** `bothWays`: the answers pass through the director too, so it sees both sides. */
export function nextState(
  protocol: number,
  state: ConnectionState,
  event: Event,
  bothWays: boolean,
): ConnectionState {
  if (protocol === IpProtocol.UDP) return 'UDP'
  if (protocol === IpProtocol.SCTP) return event === 'open' || event === 'data' ? 'ESTABLISHED' : 'CLOSED'
  switch (event) {
    case 'open':
      return 'ESTABLISHED'
    case 'data':
      return state === 'SYN_RECV' ? 'ESTABLISHED' : state
    case 'clientCloses':
      return bothWays ? 'CLOSE_WAIT' : 'FIN_WAIT'
    case 'bothClose':
      return bothWays ? 'TIME_WAIT' : 'FIN_WAIT'
    case 'reset':
      return 'CLOSE'
  }
}

/** Seconds until an idle connection is forgotten. */
export function secondsIn(
  protocol: number,
  state: ConnectionState,
  { tcp, tcpFin, udp }: ConnectionTimeouts,
): number {
  switch (state) {
    case 'UDP':
      return udp
    case 'CLOSED':
      return 61
    case 'ESTABLISHED':
      return protocol === IpProtocol.SCTP ? 900 : tcp
    case 'FIN_WAIT':
      return tcpFin
    case 'SYN_RECV':
    case 'CLOSE_WAIT':
      return 60
    case 'TIME_WAIT':
      return 120
    case 'CLOSE':
      return 10
  }
}
