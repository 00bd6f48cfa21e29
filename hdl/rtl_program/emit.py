import json, re
d=json.load(open('rows.json')); mem={int(k):v for k,v in d['mem'].items()}; copies=d['copies']; R=d['R']; groups=d['groups']
conds_pick=['FILLABLE','RUNNING','ROOM','SAVED','HIGHER','MORE','PICK']
conds_free=['LAST_CHANNEL','MEMORY','MAY_MOVE','MOVE','EVENT']
conds=[]
for n in d['order']:
    c=R[n][1]
    if c not in conds and c not in conds_free and c not in conds_pick: conds.append(c)
ops=['NONE','ONE']+[o for o in sorted({R[n][4] for n in d['order']}) if o not in ('NONE','ONE')]
acts=sorted({R[n][6] for n in d['order'] if R[n][6]})
name={}
for n,l in copies.items():
    for k,a in enumerate(l): name[a]= n if k==0 else f'{n}_{k+1}'
out=[]
out.append('  typedef enum logic [7:0] {')
items=[]
for a in sorted(mem): items.append(f"    {name[a]} = {a}")
out.append(',\n'.join(items)); out.append('  } state_t;')
out.append('  typedef enum logic [5:0] {')
l=[f"    IF_{c} = {i}" for i,c in enumerate(conds)]+[f"    IF_{c} = {48+i}" for i,c in enumerate(conds_pick)]+[f"    IF_{c} = {56+i}" for i,c in enumerate(conds_free)]
out.append(',\n'.join(l)); out.append('  } condition_t;')
out.append('  typedef enum logic [4:0] {')
out.append(',\n'.join(f"    ADD_{c} = {i}" for i,c in enumerate(ops))); out.append('  } operand_t;')
out.append('  typedef enum logic [5:0] {')
out.append(',\n'.join(f"    DO_{c} = {48+i}" for i,c in enumerate(['NOTHING']+acts) )); out.append('  } act_t;')
open('enums.sv','w').write('\n'.join(out)+'\n')
t=[]
W={'WALK':"6'd0",'WALK44':'ADDRESS','START_TIME_HI':"START_TIME | 6'd1",'PACKET_TIME_HI':"PACKET_TIME | 6'd1"}
Rd={'EVENT':"6'd0"}
for k in range(1,8): Rd[f'={k}']=f"6'd{k}"
for n in d['order']:
    nx,c,rd,wr,op,take,act=R[n]
    g=[list(x) for x in groups]
    if len(nx)>1:
        # find address
        base=[a for a in mem if all(mem.get(a+k)==x for k,x in enumerate(nx)) and a%len(nx)==0][0]
    else: base=copies[nx[0]][0]
    if wr is None: w='DO_'+act if act else 'DO_NOTHING'
    else: w=W.get(wr,wr)
    labels=', '.join(name[a] for a in copies[n])
    t.append(f"      {labels}: program_of = row({name[base]}, IF_{c}, {Rd.get(rd,rd)}, {w}, ADD_{op}, 1'b{take});")
open('table.sv','w').write('\n'.join(t)+'\n')
print(len(conds), len(ops), len(acts))
