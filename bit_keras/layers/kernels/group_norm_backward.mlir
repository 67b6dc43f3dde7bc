// The gradient of group normalization and ReLU: one program for each image and each tile
// of channels, as in the forward pass. Lines are marked that only belong to a kernel with,
// or without, a gradient that reaches the input by a residual connection: its sum with
// the other one is then made in the same pass.
module {
  tt.func public @group_norm_backward(
      %x_at: !tt.ptr<$T> {tt.divisibility = 16 : i32},
      %dy_at: !tt.ptr<$T> {tt.divisibility = 16 : i32},
      %gamma_at: !tt.ptr<f32> {tt.divisibility = 16 : i32},
      %beta_at: !tt.ptr<f32> {tt.divisibility = 16 : i32},
      %mean_at: !tt.ptr<f32> {tt.divisibility = 16 : i32},
      %inverse_at: !tt.ptr<f32> {tt.divisibility = 16 : i32},
      %residual_at: !tt.ptr<$T> {tt.divisibility = 16 : i32}, // with residual
      %dx_at: !tt.ptr<$T> {tt.divisibility = 16 : i32},
      %sums_at: !tt.ptr<f32> {tt.divisibility = 16 : i32}) attributes {noinline = false} {
    %zero = arith.constant 0 : i32
    %one = arith.constant 1 : i32
    %last_tile = arith.constant $LAST_TILE : i32
    %num_tiles = arith.constant $TILES : i32
    %tile_channels = arith.constant $TILE_CHANNELS : i32
    %tile_rows = arith.constant $TILE_ROWS : i32
    %tile_groups = arith.constant $TILE_GROUPS : i32
    %groups = arith.constant $GROUPS : i32
    %num_channels = arith.constant $CHANNELS : i32
    %num_sums = arith.constant $SUMS : i32
    %image_size = arith.constant $IMAGE_SIZE : i64
    %tile_size = arith.constant $TILE_SIZE : i32
    %pixels = arith.constant dense<$PIXELS> : tensor<${TILE_ROWS}xi32>
    %channels = arith.constant dense<$CHANNELS> : tensor<${TILE_ROWS}x1xi32>
    %nothing = arith.constant dense<0.0> : tensor<${TILE}$T>
    %zeros = arith.constant dense<0.0> : tensor<${TILE}f32>
    %floor = arith.constant dense<$FLOOR> : tensor<${TILE}f32>
    %num_values = arith.constant dense<$VALUES.0> : tensor<${TILE_GROUPS}xf32>

    // Where this program's channels and pixels lie.
    %block = tt.get_program_id x : i32
    %image = tt.get_program_id y : i32
    %first_channel = arith.muli %block, %tile_channels : i32
    %channel_range = tt.make_range {end = $TILE_CHANNELS : i32, start = 0 : i32} : tensor<${TILE_CHANNELS}xi32>
    %first_channels = tt.splat %first_channel : i32 -> tensor<${TILE_CHANNELS}xi32>
    %channel = arith.addi %first_channels, %channel_range : tensor<${TILE_CHANNELS}xi32>
    %row = tt.make_range {end = $TILE_ROWS : i32, start = 0 : i32} : tensor<${TILE_ROWS}xi32>
    %image_wide = arith.extsi %image : i32 to i64
    %image_start = arith.muli %image_wide, %image_size : i64
    %x_image = tt.addptr %x_at, %image_start : !tt.ptr<$T>, i64
    %dy_image = tt.addptr %dy_at, %image_start : !tt.ptr<$T>, i64
    %residual_image = tt.addptr %residual_at, %image_start : !tt.ptr<$T>, i64 // with residual
    %dx_image = tt.addptr %dx_at, %image_start : !tt.ptr<$T>, i64
    %row_column = tt.expand_dims %row {axis = 1 : i32} : tensor<${TILE_ROWS}xi32> -> tensor<${TILE_ROWS}x1xi32>
    %row_start = arith.muli %row_column, %channels : tensor<${TILE_ROWS}x1xi32>
    %channel_row = tt.expand_dims %channel {axis = 0 : i32} : tensor<${TILE_CHANNELS}xi32> -> tensor<1x${TILE_CHANNELS}xi32>
    %row_starts = tt.broadcast %row_start : tensor<${TILE_ROWS}x1xi32> -> tensor<${TILE}i32>
    %channel_rows = tt.broadcast %channel_row : tensor<1x${TILE_CHANNELS}xi32> -> tensor<${TILE}i32>
    %place = arith.addi %row_starts, %channel_rows : tensor<${TILE}i32>

    // y = (x - mean) * scale + beta, as the forward pass has computed it.
    %group_start = arith.muli %image, %groups : i32
    %block_start = arith.muli %block, %tile_groups : i32
    %first_group = arith.addi %group_start, %block_start : i32
    %group_range = tt.make_range {end = $TILE_GROUPS : i32, start = 0 : i32} : tensor<${TILE_GROUPS}xi32>
    %first_groups = tt.splat %first_group : i32 -> tensor<${TILE_GROUPS}xi32>
    %group = arith.addi %first_groups, %group_range : tensor<${TILE_GROUPS}xi32>
    %mean_all = tt.splat %mean_at : !tt.ptr<f32> -> tensor<${TILE_GROUPS}x!tt.ptr<f32>>
    %mean_place = tt.addptr %mean_all, %group : tensor<${TILE_GROUPS}x!tt.ptr<f32>>, tensor<${TILE_GROUPS}xi32>
    %group_mean = tt.load %mean_place : tensor<${TILE_GROUPS}x!tt.ptr<f32>>
    %inverse_all = tt.splat %inverse_at : !tt.ptr<f32> -> tensor<${TILE_GROUPS}x!tt.ptr<f32>>
    %inverse_place = tt.addptr %inverse_all, %group : tensor<${TILE_GROUPS}x!tt.ptr<f32>>, tensor<${TILE_GROUPS}xi32>
    %group_inverse = tt.load %inverse_place : tensor<${TILE_GROUPS}x!tt.ptr<f32>>
    %mean_column = tt.expand_dims %group_mean {axis = 1 : i32} : tensor<${TILE_GROUPS}xf32> -> tensor<${TILE_GROUPS}x1xf32>
    %mean_spread = tt.broadcast %mean_column : tensor<${TILE_GROUPS}x1xf32> -> tensor<${GROUPED}f32>
    %mean = tt.reshape %mean_spread : tensor<${GROUPED}f32> -> tensor<${TILE_CHANNELS}xf32>
    %inverse_column = tt.expand_dims %group_inverse {axis = 1 : i32} : tensor<${TILE_GROUPS}xf32> -> tensor<${TILE_GROUPS}x1xf32>
    %inverse_spread = tt.broadcast %inverse_column : tensor<${TILE_GROUPS}x1xf32> -> tensor<${GROUPED}f32>
    %inverse = tt.reshape %inverse_spread : tensor<${GROUPED}f32> -> tensor<${TILE_CHANNELS}xf32>
    %gamma_all = tt.splat %gamma_at : !tt.ptr<f32> -> tensor<${TILE_CHANNELS}x!tt.ptr<f32>>
    %gamma_place = tt.addptr %gamma_all, %channel : tensor<${TILE_CHANNELS}x!tt.ptr<f32>>, tensor<${TILE_CHANNELS}xi32>
    %gamma = tt.load %gamma_place : tensor<${TILE_CHANNELS}x!tt.ptr<f32>>
    %beta_all = tt.splat %beta_at : !tt.ptr<f32> -> tensor<${TILE_CHANNELS}x!tt.ptr<f32>>
    %beta_place = tt.addptr %beta_all, %channel : tensor<${TILE_CHANNELS}x!tt.ptr<f32>>, tensor<${TILE_CHANNELS}xi32>
    %beta = tt.load %beta_place : tensor<${TILE_CHANNELS}x!tt.ptr<f32>>
    %scale = arith.mulf %gamma, %inverse : tensor<${TILE_CHANNELS}xf32>
    %scale_row = tt.expand_dims %scale {axis = 0 : i32} : tensor<${TILE_CHANNELS}xf32> -> tensor<1x${TILE_CHANNELS}xf32>
    %scales = tt.broadcast %scale_row : tensor<1x${TILE_CHANNELS}xf32> -> tensor<${TILE}f32>
    %beta_row = tt.expand_dims %beta {axis = 0 : i32} : tensor<${TILE_CHANNELS}xf32> -> tensor<1x${TILE_CHANNELS}xf32>
    %betas = tt.broadcast %beta_row : tensor<1x${TILE_CHANNELS}xf32> -> tensor<${TILE}f32>
    %mean_row = tt.expand_dims %mean {axis = 0 : i32} : tensor<${TILE_CHANNELS}xf32> -> tensor<1x${TILE_CHANNELS}xf32>
    %means = tt.broadcast %mean_row : tensor<1x${TILE_CHANNELS}xf32> -> tensor<${TILE}f32>

    // The gradients of beta and of gamma are sums over the pixels.
    %sums:2 = scf.for %tile = %zero to %num_tiles step %one iter_args(%beta_sum = %zeros, %gamma_sum = %zeros) -> (tensor<${TILE}f32>, tensor<${TILE}f32>) : i32 {
      %start = arith.muli %tile, %tile_rows : i32
      %starts = tt.splat %start : i32 -> tensor<${TILE_ROWS}xi32>
      %pixel = arith.addi %starts, %row : tensor<${TILE_ROWS}xi32>
      %exists = arith.cmpi slt, %pixel, %pixels : tensor<${TILE_ROWS}xi32>
      %exists_column = tt.expand_dims %exists {axis = 1 : i32} : tensor<${TILE_ROWS}xi1> -> tensor<${TILE_ROWS}x1xi1>
      %mask = tt.broadcast %exists_column : tensor<${TILE_ROWS}x1xi1> -> tensor<${TILE}i1>
      %tile_start = arith.muli %tile, %tile_size : i32
      %x_tile = tt.addptr %x_image, %tile_start : !tt.ptr<$T>, i32
      %x_tile_all = tt.splat %x_tile : !tt.ptr<$T> -> tensor<${TILE}!tt.ptr<$T>>
      %x_place = tt.addptr %x_tile_all, %place : tensor<${TILE}!tt.ptr<$T>>, tensor<${TILE}i32>
      %x_stored = tt.load %x_place, %mask, %nothing evictionPolicy = evict_last : tensor<${TILE}!tt.ptr<$T>>
      %x = $WIDEN %x_stored : tensor<${TILE}$T> $WIDEN_TO tensor<${TILE}f32>
      %dy_tile = tt.addptr %dy_image, %tile_start : !tt.ptr<$T>, i32
      %dy_tile_all = tt.splat %dy_tile : !tt.ptr<$T> -> tensor<${TILE}!tt.ptr<$T>>
      %dy_place = tt.addptr %dy_tile_all, %place : tensor<${TILE}!tt.ptr<$T>>, tensor<${TILE}i32>
      %dy_stored = tt.load %dy_place, %mask, %nothing evictionPolicy = evict_last : tensor<${TILE}!tt.ptr<$T>>
      %dy = $WIDEN %dy_stored : tensor<${TILE}$T> $WIDEN_TO tensor<${TILE}f32>
      %centred = arith.subf %x, %means : tensor<${TILE}f32>
      %scaled = arith.mulf %centred, %scales : tensor<${TILE}f32>
      %shifted = arith.addf %scaled, %betas : tensor<${TILE}f32>
      %passes = arith.cmpf ogt, %shifted, %floor : tensor<${TILE}f32>
      %dz = arith.select %passes, %dy, %zeros : tensor<${TILE}i1>, tensor<${TILE}f32>
      %along = arith.mulf %dz, %centred : tensor<${TILE}f32>
      %new_beta_sum = arith.addf %beta_sum, %dz : tensor<${TILE}f32>
      %new_gamma_sum = arith.addf %gamma_sum, %along : tensor<${TILE}f32>
      scf.yield %new_beta_sum, %new_gamma_sum : tensor<${TILE}f32>, tensor<${TILE}f32>
    }
    %dbeta = "tt.reduce"(%sums#0) <{axis = 0 : i32}> ({
    ^bb0(%left: f32, %right: f32):
      %both = arith.addf %left, %right : f32
      tt.reduce.return %both : f32
    }) : (tensor<${TILE}f32>) -> tensor<${TILE_CHANNELS}xf32>
    %centred_sum = "tt.reduce"(%sums#1) <{axis = 0 : i32}> ({
    ^bb0(%left: f32, %right: f32):
      %both = arith.addf %left, %right : f32
      tt.reduce.return %both : f32
    }) : (tensor<${TILE}f32>) -> tensor<${TILE_CHANNELS}xf32>
    %dgamma = arith.mulf %centred_sum, %inverse : tensor<${TILE_CHANNELS}xf32>
    %sums_start = arith.muli %image, %num_sums : i32
    %dgamma_start = tt.addptr %sums_at, %sums_start : !tt.ptr<f32>, i32
    %dgamma_all = tt.splat %dgamma_start : !tt.ptr<f32> -> tensor<${TILE_CHANNELS}x!tt.ptr<f32>>
    %dgamma_place = tt.addptr %dgamma_all, %channel : tensor<${TILE_CHANNELS}x!tt.ptr<f32>>, tensor<${TILE_CHANNELS}xi32>
    tt.store %dgamma_place, %dgamma : tensor<${TILE_CHANNELS}x!tt.ptr<f32>>
    %dbeta_start = tt.addptr %dgamma_start, %num_channels : !tt.ptr<f32>, i32
    %dbeta_all = tt.splat %dbeta_start : !tt.ptr<f32> -> tensor<${TILE_CHANNELS}x!tt.ptr<f32>>
    %dbeta_place = tt.addptr %dbeta_all, %channel : tensor<${TILE_CHANNELS}x!tt.ptr<f32>>, tensor<${TILE_CHANNELS}xi32>
    tt.store %dbeta_place, %dbeta : tensor<${TILE_CHANNELS}x!tt.ptr<f32>>

    // What mean and deviation of the group take from the gradient.
    %weighted_dbeta = arith.mulf %dbeta, %gamma : tensor<${TILE_CHANNELS}xf32>
    %weighted_dbetas = tt.reshape %weighted_dbeta : tensor<${TILE_CHANNELS}xf32> -> tensor<${GROUPED}f32>
    %constant_sum = "tt.reduce"(%weighted_dbetas) <{axis = 1 : i32}> ({
    ^bb0(%left: f32, %right: f32):
      %both = arith.addf %left, %right : f32
      tt.reduce.return %both : f32
    }) : (tensor<${GROUPED}f32>) -> tensor<${TILE_GROUPS}xf32>
    %group_constant = arith.divf %constant_sum, %num_values : tensor<${TILE_GROUPS}xf32>
    %constant_column = tt.expand_dims %group_constant {axis = 1 : i32} : tensor<${TILE_GROUPS}xf32> -> tensor<${TILE_GROUPS}x1xf32>
    %constant_spread = tt.broadcast %constant_column : tensor<${TILE_GROUPS}x1xf32> -> tensor<${GROUPED}f32>
    %constant = tt.reshape %constant_spread : tensor<${GROUPED}f32> -> tensor<${TILE_CHANNELS}xf32>
    %weighted_dgamma = arith.mulf %dgamma, %gamma : tensor<${TILE_CHANNELS}xf32>
    %weighted_dgammas = tt.reshape %weighted_dgamma : tensor<${TILE_CHANNELS}xf32> -> tensor<${GROUPED}f32>
    %along_sum = "tt.reduce"(%weighted_dgammas) <{axis = 1 : i32}> ({
    ^bb0(%left: f32, %right: f32):
      %both = arith.addf %left, %right : f32
      tt.reduce.return %both : f32
    }) : (tensor<${GROUPED}f32>) -> tensor<${TILE_GROUPS}xf32>
    %group_along = arith.divf %along_sum, %num_values : tensor<${TILE_GROUPS}xf32>
    %along_channel_column = tt.expand_dims %group_along {axis = 1 : i32} : tensor<${TILE_GROUPS}xf32> -> tensor<${TILE_GROUPS}x1xf32>
    %along_channel_spread = tt.broadcast %along_channel_column : tensor<${TILE_GROUPS}x1xf32> -> tensor<${GROUPED}f32>
    %along_channel = tt.reshape %along_channel_spread : tensor<${GROUPED}f32> -> tensor<${TILE_CHANNELS}xf32>
    %along_inverse = arith.mulf %along_channel, %inverse : tensor<${TILE_CHANNELS}xf32>
    %slope = arith.mulf %along_inverse, %inverse : tensor<${TILE_CHANNELS}xf32>
    %level = arith.mulf %constant, %inverse : tensor<${TILE_CHANNELS}xf32>
    %slope_row = tt.expand_dims %slope {axis = 0 : i32} : tensor<${TILE_CHANNELS}xf32> -> tensor<1x${TILE_CHANNELS}xf32>
    %slopes = tt.broadcast %slope_row : tensor<1x${TILE_CHANNELS}xf32> -> tensor<${TILE}f32>
    %level_row = tt.expand_dims %level {axis = 0 : i32} : tensor<${TILE_CHANNELS}xf32> -> tensor<1x${TILE_CHANNELS}xf32>
    %levels = tt.broadcast %level_row : tensor<1x${TILE_CHANNELS}xf32> -> tensor<${TILE}f32>
    scf.for %back = %zero to %num_tiles step %one : i32 {
      %tile = arith.subi %last_tile, %back : i32
      %start = arith.muli %tile, %tile_rows : i32
      %starts = tt.splat %start : i32 -> tensor<${TILE_ROWS}xi32>
      %pixel = arith.addi %starts, %row : tensor<${TILE_ROWS}xi32>
      %exists = arith.cmpi slt, %pixel, %pixels : tensor<${TILE_ROWS}xi32>
      %exists_column = tt.expand_dims %exists {axis = 1 : i32} : tensor<${TILE_ROWS}xi1> -> tensor<${TILE_ROWS}x1xi1>
      %mask = tt.broadcast %exists_column : tensor<${TILE_ROWS}x1xi1> -> tensor<${TILE}i1>
      %tile_start = arith.muli %tile, %tile_size : i32
      %x_tile = tt.addptr %x_image, %tile_start : !tt.ptr<$T>, i32
      %x_tile_all = tt.splat %x_tile : !tt.ptr<$T> -> tensor<${TILE}!tt.ptr<$T>>
      %x_place = tt.addptr %x_tile_all, %place : tensor<${TILE}!tt.ptr<$T>>, tensor<${TILE}i32>
      %x_stored = tt.load %x_place, %mask, %nothing evictionPolicy = evict_first : tensor<${TILE}!tt.ptr<$T>>
      %x = $WIDEN %x_stored : tensor<${TILE}$T> $WIDEN_TO tensor<${TILE}f32>
      %dy_tile = tt.addptr %dy_image, %tile_start : !tt.ptr<$T>, i32
      %dy_tile_all = tt.splat %dy_tile : !tt.ptr<$T> -> tensor<${TILE}!tt.ptr<$T>>
      %dy_place = tt.addptr %dy_tile_all, %place : tensor<${TILE}!tt.ptr<$T>>, tensor<${TILE}i32>
      %dy_stored = tt.load %dy_place, %mask, %nothing evictionPolicy = evict_first : tensor<${TILE}!tt.ptr<$T>>
      %dy = $WIDEN %dy_stored : tensor<${TILE}$T> $WIDEN_TO tensor<${TILE}f32>
      %centred = arith.subf %x, %means : tensor<${TILE}f32>
      %scaled = arith.mulf %centred, %scales : tensor<${TILE}f32>
      %shifted = arith.addf %scaled, %betas : tensor<${TILE}f32>
      %passes = arith.cmpf ogt, %shifted, %floor : tensor<${TILE}f32>
      %dz = arith.select %passes, %dy, %zeros : tensor<${TILE}i1>, tensor<${TILE}f32>
      %direct = arith.mulf %dz, %scales : tensor<${TILE}f32>
      %sloped = arith.mulf %centred, %slopes : tensor<${TILE}f32>
      %taken = arith.addf %sloped, %levels : tensor<${TILE}f32>
      %dx = arith.subf %direct, %taken : tensor<${TILE}f32>
      %residual_tile = tt.addptr %residual_image, %tile_start : !tt.ptr<$T>, i32 // with residual
      %residual_tile_all = tt.splat %residual_tile : !tt.ptr<$T> -> tensor<${TILE}!tt.ptr<$T>> // with residual
      %residual_place = tt.addptr %residual_tile_all, %place : tensor<${TILE}!tt.ptr<$T>>, tensor<${TILE}i32> // with residual
      %residual_stored = tt.load %residual_place, %mask, %nothing evictionPolicy = evict_first : tensor<${TILE}!tt.ptr<$T>> // with residual
      %residual = $WIDEN %residual_stored : tensor<${TILE}$T> $WIDEN_TO tensor<${TILE}f32> // with residual
      %total = arith.addf %dx, %residual : tensor<${TILE}f32> // with residual
      %narrow = $NARROW %total : tensor<${TILE}f32> $NARROW_TO tensor<${TILE}$T> // with residual
      %narrow = $NARROW %dx : tensor<${TILE}f32> $NARROW_TO tensor<${TILE}$T> // without residual
      %dx_tile = tt.addptr %dx_image, %tile_start : !tt.ptr<$T>, i32
      %dx_tile_all = tt.splat %dx_tile : !tt.ptr<$T> -> tensor<${TILE}!tt.ptr<$T>>
      %dx_place = tt.addptr %dx_tile_all, %place : tensor<${TILE}!tt.ptr<$T>>, tensor<${TILE}i32>
      tt.store %dx_place, %narrow, %mask evictionPolicy = evict_first : tensor<${TILE}!tt.ptr<$T>>
    }
    tt.return
  }
}
