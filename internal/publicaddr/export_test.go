package publicaddr

// Own is tested from outside: a test machine has private addresses only.
var Own = own
