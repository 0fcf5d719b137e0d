package jobspec

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// later holds keys and values that are known words of ipdc but not part of
// this version, each with what to do instead. A key of the map is a path
// without indexes, with "=value" for a value.
var later = map[string]string{
	"verify":     "submit the job twice with cache: refresh and compare the results",
	"merge=none": "use union, shards or concat",
}

// unknownKey words the complaint about a key below the map at location.
func unknownKey(location []string, key string) Problem {
	if hint, ok := later[laterKey(append(slices.Clone(location), key))]; ok {
		return Problem{Detail: "is not supported by this version", Hint: hint}
	}
	known := knownKeys(location)
	if near := nearest(key, known); near != "" {
		return Problem{Detail: fmt.Sprintf("unknown key, did you mean %q?", near)}
	}
	return Problem{Detail: "unknown key, known here are " + strings.Join(known, ", ")}
}

// unsupportedValue returns the hint for a value that a later version knows.
func unsupportedValue(location []string, value any) string {
	text, _ := value.(string)
	return later[laterKey(location)+"="+text]
}

func laterKey(location []string) string {
	var names []string
	for _, part := range location {
		if _, err := strconv.Atoi(part); err != nil {
			names = append(names, part)
		}
	}
	return strings.Join(names, ".")
}

// knownKeys returns the keys that the schema knows for the map at location.
func knownKeys(location []string) []string {
	s := follow(compiledSchema())
	for _, part := range location {
		if next, ok := s.Properties[part]; ok {
			s = follow(next)
		} else if items, ok := s.Items2020, s.Items2020 != nil; ok {
			s = follow(items)
		}
	}
	return slices.Sorted(maps.Keys(s.Properties))
}

func follow(s *jsonschema.Schema) *jsonschema.Schema {
	for s.Ref != nil {
		s = s.Ref
	}
	return s
}

// nearest returns the candidate that key most likely stands for, or "".
func nearest(key string, candidates []string) string {
	best, bestDistance := "", 1+max(2, len(key)/3)
	if len(key) > 40 {
		return ""
	}
	for _, c := range candidates {
		if strings.EqualFold(c, key) {
			return c
		}
		if d := editDistance(strings.ToLower(key), c); d < bestDistance && d < len(c) {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance counts inserted, removed and changed bytes, and swapped
// neighbours as one (optimal string alignment).
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// pathText writes a location as messages show it: inputs[0].cid.
func pathText(location []string) string {
	path := ""
	for _, part := range location {
		if i, err := strconv.Atoi(part); err == nil && path != "" {
			path = joinIndex(path, i)
		} else {
			path = joinKey(path, part)
		}
	}
	return path
}

// valueAt returns the value at location, or nil.
func valueAt(tree any, location []string) any {
	for _, part := range location {
		switch t := tree.(type) {
		case map[string]any:
			tree = t[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(t) {
				return nil
			}
			tree = t[i]
		default:
			return nil
		}
	}
	return tree
}

// prune leaves the values that problems are about out of doc, so that the
// rest can be decoded and checked further. An element of a list takes the
// list with it, unless the problem lies deeper, in a map.
func prune(doc map[string]any, problems []shapeProblem) {
	for _, p := range problems {
		for i := len(p.at) - 1; i >= 0; i-- {
			if m, ok := valueAt(doc, p.at[:i]).(map[string]any); ok {
				delete(m, p.at[i])
				break
			}
		}
	}
}
