"""Scratch: places rows and prints enum and table."""
R = {}
order = []
def row(name, next, cond='NEVER', read='ZERO', write=None, operand='NONE', take=0, act=None):
    assert name not in R, name
    next = next if isinstance(next, (list, tuple)) else [next]
    R[name] = (list(next), cond, read, write, operand, take, act); order.append(name)
S='SAVE'; I='IDLE'; T='TAIL'
# reset
row('CLEAR_A', 'CLEAR_B')
row('CLEAR_B', ['CLEAR_B', 'CLEAR_C'], 'WORD_LAST', write='WALK')
row('CLEAR_C', ['CLEAR_A', 'CLEAR_D'], 'STREAM_LAST')
row('CLEAR_D', I, write='LOAD_SUM')
# choose
row('IDLE', [I, 'LOAD', T, T], 'PICK')
row('LOAD', ['DECODE_FILL', 'DECODE_TICK', 'DECODE_ASK', 'DECODE_ASK'], 'VISIT', 'FIELDS')
row('DECODE_FILL', [I, 'LOAD', 'PREPARE_A', 'PREPARE_A'], 'FILLABLE', 'ADDRESS', act='DECODE')
row('DECODE_TICK', [I, 'LOAD', 'CONVERT', 'CONVERT'], 'RUNNING', act='DECODE')
row('DECODE_ASK', 'ASK_SETTINGS', 'ASKED', read='SETTINGS', act='DECODE')
# ask
row('ASK_SETTINGS', ['ASK_CONTROL', 'UNSET_A'], 'MARKED_WORD', 'CONTROL')
row('UNSET_A', ['UNSET_B', 'UNSET_C'], 'STARTED')
row('UNSET_B', 'ASK_CONTROL', read='CONTROL', write='SETTINGS')
row('UNSET_C', 'REFUSE_SETTINGS', write='SETTINGS')
row('ASK_CONTROL', ['ASK_SNAPSHOT', 'STOP_A', 'START_A', 'CHANGE'], 'CONTROL', 'SNAPSHOT')
row('CHANGE', S, act='CHANGE')
row('ASK_SNAPSHOT', ['ASK_REVOKE', 'SNAP_WAIT'], 'MARKED_WORD', 'REVOKE_STATUS')
row('ASK_REVOKE', [I, 'REVOKE_A'], 'MARKED_WORD', 'REVOKE_RANGE')
# stop
row('STOP_A', ['WIPE_A', 'STOP_B'], 'STARTED', 'LOAD_SUM')
row('STOP_B', 'WIPE_A', write='LOAD_SUM', operand='CLOCKS')
row('WIPE_A', 'WIPE_B', act='WIPE')
row('WIPE_B', ['WIPE_B', 'CHANGE'], 'WORD_LAST', write='WALK')
# start
row('START_A', 'START_B', read='CONFIG')
row('START_B', 'START_C', read='RING_SIZE', act='CONFIG')
row('START_C', ['START_D', 'HALT_CONFIG'], 'BAD_CONFIG', 'RING_BASE', 'SIZE')
row('START_D', 'START_E', read='RING_BASE', write='BASE')
row('START_E', 'START_F', read='LOAD_SUM', write='SLOT')
row('START_F', 'START_G', write='LOAD_TRIED', operand='MINUS_CLOCKS')
row('START_G', 'START_H', read='LOAD_TRIED')
row('START_H', 'START_I', operand='BUDGET')
row('START_I', ['START_J', 'HALT_LOAD'], 'LESS', 'LOAD_TRIED')
row('START_J', 'START_K', write='LOAD_SUM')
row('START_K', 'START_L', write='UNDERRUNS')
row('START_L', 'START_M', write='OVERRUNS')
row('START_M', 'START_N', write='HIGH_WATER')
row('START_N', 'START_O', write='INTERVAL_LEFT', read='INTERVAL_BYTES')
row('START_O', ['START_P', 'START_Q'], 'SHORT', 'INTERVAL_BYTES')
row('START_P', 'START_Q', write='INTERVAL_LEFT')
row('START_Q', S, act='STARTED')
# tick
row('CONVERT', ['MISS_A', 'SAMPLE', 'USE_UP_A', 'USE_UP_A'], 'CONVERT')
row('SAMPLE', ['SAMPLE', 'FRAME', 'LOAD', 'LOAD'], 'LAST_CHANNEL', 'FRAMES_LO')
row('FRAME', [S, 'FRAME_MORE'], 'FRAME', write='FRAMES_LO', operand='ONE')
row('FRAME_DONE', S)
row('FRAME_MORE', ['MARK_B', 'START_WAIT'], 'FRESH', 'PACKET')
row('START_WAIT', ['START_LO', 'START_WAIT'], 'LATE')
row('START_LO', 'START_HI', write='START_TIME', operand='NOW_LO')
row('START_HI', ['FRAME_DONE', 'MARK_B'], 'WATCHING', 'PACKET', write='START_TIME_HI', operand='NOW_HI')
row('MARK_B', [S, 'PACKET_WAIT'], 'PASSED')
row('PACKET_WAIT', ['PACKET_LO', 'PACKET_WAIT'], 'LATE')
row('PACKET_LO', 'PACKET_HI', write='PACKET_TIME', operand='NOW_LO')
row('PACKET_HI', [S, 'BACK'], 'FILLING', write='PACKET_TIME_HI', operand='NOW_HI')
row('MISS_A', ['MISS_B', I], 'NOT_MISSED')
row('MISS_B', ['UNDER_A', 'OVER_A'], 'CAPTURE')
row('UNDER_A', 'UNDER_B', read='UNDERRUNS')
row('UNDER_B', ['MISS_C', I], 'GAP', write='UNDERRUNS', operand='ONE')
row('OVER_A', 'OVER_B', read='OVERRUNS')
row('OVER_B', ['MISS_C', I], 'GAP', write='OVERRUNS', operand='ONE')
row('MISS_C', S, act='MISS')
row('USE_UP_A', ['USE_UP_B', I], 'SILENT')
row('USE_UP_B', S, act='USE_UP')
# fill
row('PREPARE_A', [I, 'LOAD', 'PREPARE_B', 'PREPARE_B'], 'ROOM', 'END', take=1)
row('PREPARE_B', 'PREPARE_C', 'REST', operand='MINUS_LOW')
row('PREPARE_C', ['MOVE_A', 'MOVE_A', 'FETCH_A', 'QUEUE_A'], 'PREPARED', 'SLOT')
row('QUEUE_A', 'QUEUE_B', read='DESCRIPTORS')
row('QUEUE_B', 'QUEUE_C', read='RING_PRODUCER', take=1)
row('QUEUE_C', 'QUEUE_D', 'COUNT', 'SIZE', operand='MINUS_LOW', take=1)
row('QUEUE_D', ['QUEUE_E', I], 'EQUAL', operand='MINUS_LOW')
row('QUEUE_E', ['FETCH_A', 'HALT_AHEAD'], 'LESS', 'SLOT')
row('FETCH_A', ['FETCH', 'HALT_OUTSIDE'], 'BEYOND', take=1)
row('FETCH', ['FETCH', 'STORE', 'HALT_BUS', 'HALT_BUS'], 'MEMORY')
row('STORE', ['FETCH', 'LENGTH_A', 'TAG_A', 'FLAGS_A'], 'WORD', write='WALK44', operand='MEMORY')
row('FLAGS_A', ['FETCH', 'REMOVED'], 'REMOVED')
row('REMOVED', S, act='DONE')
row('LENGTH_A', ['LENGTH_B', 'HALT_LENGTH'], 'NO_LENGTH', 'ADDRESS')
row('LENGTH_B', 'LENGTH_C', write='END', operand='MEMORY')
row('LENGTH_C', ['FETCH', 'HALT_OUTSIDE'], 'OUTSIDE')
row('TAG_A', ['NEW_MARK', 'BACK', 'PACKET_WAIT', 'PACKET_WAIT'], 'TAG', 'BYTES_LO')
row('NEW_MARK', 'PREPARE_A', read='ADDRESS', write='PACKET')
row('BACK', 'PREPARE_A', read='ADDRESS')
row('MOVE_A', ['BYTES', 'MOVE_B'], 'MAY_MOVE', 'BYTES_LO')
row('MOVE_B', ['MOVE_B', 'MOVE_A', 'BYTES', 'BYTES'], 'MOVE', 'BYTES_LO')
row('BYTES', 'MOVED', 'BYTES', 'ADDRESS', 'BYTES_LO', 'MOVED')
row('MOVED', [S, 'INTERVAL_A', 'ENDING_A', 'INTERVAL_A'], 'MOVED', 'INTERVAL_LEFT', 'ADDRESS', 'MOVED')
row('INTERVAL_A', 'INTERVAL_T', operand='NOT_MOVED', take=1)
row('INTERVAL_T', ['INTERVAL_B', 'INTERVAL_C'], 'LESS', 'INTERVAL_LEFT')
row('INTERVAL_B', [S, 'ENDING_A'], 'FINISHED', write='INTERVAL_LEFT', operand='MINUS_MOVED')
row('INTERVAL_C', 'INTERVAL_D', read='INTERVAL_BYTES')
row('INTERVAL_D', ['INTERVAL_E', 'INTERVAL_OFF'], 'SHORT', write='INTERVAL_LEFT', operand='MINUS_OVER')
row('INTERVAL_E', [S, 'ENDING_A'], 'FINISHED', act='INTERVAL')
row('INTERVAL_OFF', [S, 'ENDING_A'], 'FINISHED', write='INTERVAL_LEFT')
row('ENDING_A', ['ENDING_B', 'HALT_BUS'], 'ERROR', 'FLAGS')
row('ENDING_B', S, act='ENDING')
# faults, refusals
for name, code in (('LENGTH',1),('OUTSIDE',2),('CONFIG',3),('LOAD',4),('AHEAD',5),('BUS',6)):
    row('HALT_'+name, 'NOTE_'+name)
    row('NOTE_'+name, 'HALT', write='TAG', operand='LITERAL', read='=%d'%code)
row('HALT', S, act='HALT')
row('REFUSE', T, act='REFUSE')
row('REFUSE_SETTINGS', T, act='REFUSE_SETTINGS')
# end of a visit
row('SAVE', [I, 'LOAD', T, 'HIGH_A'], 'SAVED', 'HIGH_WATER', 'FIELDS', 'FIELDS')
row('HIGH_A', [I, 'LOAD', T, 'HIGH_B'], 'HIGHER')
row('HIGH_B', [I, 'LOAD', T, T], 'MORE', write='HIGH_WATER', operand='LEVEL')
row('TAIL', ['TAIL_C', 'POST', 'NOTE', 'NOTE'], 'TAIL')
row('NOTE', 'TAIL_B', write='STATUS', operand='STATUS')
row('TAIL_B', ['TAIL_C', 'POST'], 'POSTING')
row('POST', ['POST', 'TAIL_C'], 'EVENT', 'EVENT')
row('TAIL_C', [I, 'COUNT_A', 'CARRY_FRAMES_A', 'CARRY_BYTES_A'], 'TAIL_C', 'DESCRIPTORS')
row('CARRY_FRAMES_A', 'CARRY_FRAMES_B', read='FRAMES_HI')
row('CARRY_FRAMES_B', I, write='FRAMES_HI', operand='ONE')
row('CARRY_BYTES_A', 'CARRY_BYTES_B', read='BYTES_HI')
row('CARRY_BYTES_B', 'TAIL_D', write='BYTES_HI', operand='ONE')
row('TAIL_D', [I, 'COUNT_A'], 'DONE', 'DESCRIPTORS')
row('COUNT_A', ['COUNT_B', I], 'ENDED', 'SLOT', 'DESCRIPTORS', 'ONE')
row('COUNT_B', 'COUNT_C', read='INDEX', write='SLOT', operand='SIXTEEN')
row('COUNT_C', 'COUNT_D', read='SIZE', write='INDEX', operand='ONE', take=1)
row('COUNT_D', 'COUNT_E', operand='MINUS_LOW')
row('COUNT_E', [I, 'COUNT_F'], 'EQUAL')
row('COUNT_F', 'COUNT_G', read='BASE', write='INDEX')
row('COUNT_G', I, write='SLOT')
# snapshot
row('SNAP_WAIT', ['SNAP_LO', 'SNAP_WAIT', I, I], 'SNAP_WAIT')
row('SNAP_LO', 'SNAP_HI', write='SNAP_TIME_LO', operand='NOW_LO')
row('SNAP_HI', 'SNAP_TICK', write='SNAP_TIME_HI', operand='NOW_HI')
row('SNAP_TICK', ['SNAP_FIFO', I], 'TICKED', write='SNAP_TICKS', operand='TICKS')
row('SNAP_FIFO', 'SNAP_A', read='FRAMES_LO', write='SNAP_FIFO_BYTES', operand='LEVEL')
names=['FRAMES_LO','FRAMES_HI','BYTES_LO','BYTES_HI','DESCRIPTORS','INDEX','STATUS']
for i,n in enumerate(names):
    row('SNAP_'+'ABCDEFG'[i], 'SNAP_'+'BCDEFGH'[i], write='SNAP_'+(n if n!='STATUS' else 'STATE'), read=(names+['SNAP_COUNT'])[i+1])
row('SNAP_H', 'SNAP_I', write='SNAP_COUNT', operand='ONE')
row('SNAP_I', ['SNAP_K', 'SNAP_J'], 'WRAPPED')
row('SNAP_J', 'SNAP_K', write='SNAP_COUNT')
row('SNAP_K', 'SNAP_L', read='SNAP_COUNT')
row('SNAP_L', 'ASK_REVOKE', write='SNAPSHOT', read='REVOKE_STATUS')
# revoke
NO='REVOKE_REFUSE_A'; UN='REVOKE_UNUSED_A'
row('REVOKE_A', [NO, 'REVOKE_B'], 'QUEUE', 'REVOKE_RANGE', take=1)
row('REVOKE_B', 'REVOKE_C', read='RING_PRODUCER', operand='MINUS_HIGH')
row('REVOKE_C', ['REVOKE_D', NO], 'NEGATIVE', 'REVOKE_RANGE', take=1)
row('REVOKE_D', 'REVOKE_E', read='DESCRIPTORS', operand='MINUS_HIGH')
row('REVOKE_E', [NO, 'REVOKE_F'], 'NEGATIVE', 'REVOKE_RANGE', take=1)
row('REVOKE_F', 'REVOKE_G', read='REVOKE_RANGE', operand='MINUS_LOW')
row('REVOKE_G', [UN, 'REVOKE_H'], 'NOT_BEHIND', 'ADDRESS', operand='MINUS_HIGH')
row('REVOKE_H', ['REVOKE_I', UN], 'NEGATIVE', 'END', take=1)
row('REVOKE_I', 'REVOKE_J', read='ADDRESS', write='REVOKE_LEFT', operand='MINUS_LOW')
row('REVOKE_J', ['REVOKE_K', UN], 'NO_REST', write='END')
row('REVOKE_K', 'REVOKE_L', write='REVOKE_STATUS', operand='LITERAL', read='=1')
row('REVOKE_L', T, act='DONE')
row(UN, 'REVOKE_UNUSED_B')
row('REVOKE_UNUSED_B', 'REVOKE_UNUSED_C', write='REVOKE_LEFT')
row('REVOKE_UNUSED_C', I, write='REVOKE_STATUS')
row(NO, 'REVOKE_REFUSE_B')
row('REVOKE_REFUSE_B', 'REVOKE_REFUSE_C', write='REVOKE_LEFT')
row('REVOKE_REFUSE_C', 'REVOKE_REFUSE_D', write='REVOKE_STATUS', operand='LITERAL', read='=2')
row('REVOKE_REFUSE_D', 'REFUSE')

# place
for n,(nx,*_) in R.items():
    for x in nx: assert x in R, (n,x)
mem = {}; copies = {n: [] for n in R}; group = {}
def put(name, address):
    c = copies[name]; copies[name].append(address); mem[address] = name
groups = []
for n in order:
    g = tuple(R[n][0])
    if len(g) > 1 and g not in groups: groups.append(g)
put('CLEAR_A', 0)
nextfree = 4
for size in (4, 2):
    for g in groups:
        if len(g) == size:
            group[g] = nextfree
            for k, x in enumerate(g): put(x, nextfree + k)
            nextfree += size
free = [1,2,3]+list(range(nextfree,256))
for n in order:
    if not copies[n]: put(n, free.pop(0))
print(len(mem), max(mem), len(order))
conds=[]
for n in order:
    c=R[n][1]
    if c not in conds: conds.append(c)
ops=sorted({R[n][4] for n in order}); acts=sorted({R[n][6] for n in order if R[n][6]})
print(len(conds),conds); print(len(ops),ops); print(len(acts),acts)
def entry(n):
    g=tuple(R[n][0])
    return group[g] if len(g)>1 else copies[g[0]][0]
import json
if __name__ == '__main__':
    json.dump({'mem':mem,'copies':copies,'order':order,'R':R,'groups':[list(g) for g in groups]}, open('rows.json','w'))
