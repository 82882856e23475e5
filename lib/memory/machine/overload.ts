import type { Dest, DestSettings } from './table.ts'
import type { Feature } from './versions.ts'

/**
 * When a server has too many connections to get new ones: from the upper threshold
 * on, until it is below the lower one. Linux 6.1 and the later patches of 6.12
 * differ in when they check, and in what an edit does.
 */
export interface OverloadRules {
  /** A connection or template was added (ip_vs_bind_dest()). */
  bound(dest: Dest): void
  /** One has ended (ip_vs_unbind_dest()). */
  unbound(dest: Dest): void
  /** The server has new settings (__ip_vs_update_dest()); `old` are those before. */
  edited(dest: Dest, old: DestSettings | undefined): void
}

export function overloadRules(features: ReadonlySet<Feature>): OverloadRules {
  return features.has('newThresholds') ? NEWER : OLDER
}

function total({ active, inactive }: Dest): number {
  return active + inactive
}

const OLDER: OverloadRules = {
  bound(dest) {
    const { upperThreshold } = dest.settings
    if (upperThreshold !== 0 && total(dest) >= upperThreshold) dest.overloaded = true
  },
  unbound(dest) {
    const { upperThreshold, lowerThreshold } = dest.settings
    const count = total(dest)
    if (
      lowerThreshold !== 0 ? count < lowerThreshold : upperThreshold === 0 || count * 4 < upperThreshold * 3
    ) {
      dest.overloaded = false
    }
  },
  // It never sets the state, so one more connection gets in.
  edited(dest, old) {
    const { upperThreshold } = dest.settings
    if (upperThreshold === 0 || upperThreshold > (old?.upperThreshold ?? 0)) dest.overloaded = false
  },
}

const NEWER: OverloadRules = {
  bound: judge,
  unbound(dest) {
    if (dest.overloaded) judge(dest)
  },
  edited(dest, old) {
    const { upperThreshold, lowerThreshold } = dest.settings
    const changed =
      upperThreshold !== (old?.upperThreshold ?? 0) || lowerThreshold !== (old?.lowerThreshold ?? 0)
    if (changed) judge(dest)
  },
}

/** Between the thresholds the state does not change. */
function judge(dest: Dest): void {
  const { upperThreshold, lowerThreshold } = dest.settings
  const count = total(dest)
  const lower = lowerThreshold || Math.floor((upperThreshold * 3) / 4)
  if (upperThreshold !== 0 && count >= upperThreshold) dest.overloaded = true
  else if (upperThreshold === 0 || lower === 0 || count < lower) dest.overloaded = false
}
