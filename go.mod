module thaw

go 1.26
